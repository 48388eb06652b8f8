"""Looking at a set-up."""

from __future__ import annotations

import argparse
import os
import sys

from ..environment import let_waiting_threads_sleep
from .words import add_command, add_device


def add_doctor(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "doctor",
        "Check the installation: versions, environment variables, commands, trainers, memory, disks, "
        "devices, and the time for one slice. The exit status is 1 if a problem prevents work.",
    )
    add_device(p, "device to check instead of the best one")
    p.add_argument(
        "--json",
        action="store_true",
        help="print JSON for bug reports, without the names of user and home folder",
    )
    p.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    let_waiting_threads_sleep()  # as where it segments
    from ..doctor import as_json, as_text, diagnose, stops_work

    findings = diagnose(options.device)
    if options.json:
        print(as_json(findings))
    else:
        print(as_text(findings, color=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return 1 if stops_work(findings) else 0
