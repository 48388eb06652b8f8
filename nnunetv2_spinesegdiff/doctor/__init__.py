"""Checks of this machine and set-up, with advice for each finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from . import installation, machine, speed
from .findings import OURS, Finding, Seen, as_json, as_text, one_line

__all__ = ["Finding", "as_json", "as_text", "checks", "diagnose", "stops_work"]

Check = Callable[[], Iterable[Seen]]


def diagnose(device: str | None = None) -> list[Finding]:
    """Check versions, variables, commands, trainers, memory, disks and devices, and time a network.

    A check that fails is a finding. Takes about ten seconds; nothing is written or sent.

    Args:
        device: cpu, cuda or mps; None for the best one that is available.
    """
    findings: list[Finding] = []
    for topic, check in checks(device):
        found = run(topic, check)
        findings += found
        if found and check is machine.check_torch:  # the others need it
            break
    return findings


def stops_work(findings: Iterable[Finding]) -> bool:
    """Return whether a finding is a problem."""
    return any(finding.level == "problem" for finding in findings)


def checks(device: str | None) -> list[tuple[str, Check]]:
    """Return the topic of every check, and the check."""
    return [
        ("versions", installation.check_versions),
        ("versions", partial(installation.check_installed_once, OURS)),
        ("versions", partial(installation.check_installed_once, "nnunetv2")),
        ("versions", installation.check_leftovers),
        ("variables", installation.check_folders),
        ("variables", installation.check_external_trainers),
        ("commands", installation.check_predict_command),
        ("trainers", installation.check_trainers),
        ("memory", machine.check_memory),
        ("disk", machine.check_disks),
        ("device", machine.check_torch),
        ("device", machine.check_cpu),
        ("device", machine.check_threading),
        ("device", machine.check_cuda),
        ("device", machine.check_mps),
        ("device", partial(machine.check_chosen, device)),
        ("speed", partial(speed.check_speed, device)),
    ]


def run(topic: str, check: Check) -> list[Finding]:
    """Run a check; if it fails, that is its finding."""
    try:
        return [Finding(level, topic, seen, advice) for level, seen, advice in check()]
    except Exception as error:
        name = getattr(getattr(check, "func", check), "__name__", topic)
        seen = f"{name} could not be checked: {one_line(error)}"
        return [Finding("warning", topic, seen, "report this with the output of spinesegdiff doctor --json")]
