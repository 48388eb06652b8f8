"""Which `nnUNetv2_predict` the shell finds, and in which environment it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ..environment import COMMANDS
from .finding import Finding
from .variables import EVAL

TOPIC = "commands"
NAME = "nnUNetv2_predict"


def check_predict_command() -> Finding:
    """nnU-Net's command on the PATH: ours or the stock one, of this environment or another."""
    found = shutil.which(NAME)
    if found is None:
        return Finding(
            "warning", TOPIC, f"no {NAME} is on the PATH", f"{EVAL}; spinesegdiff predict does without"
        )
    if os.path.realpath(found) == os.path.realpath(COMMANDS / NAME):
        return _ours(found)
    start = Path(found).read_bytes()[:2000].decode(errors="replace")
    if "nnunetv2_spinesegdiff" in start:
        return Finding("warning", TOPIC, f"{found} is of another copy of this package", EVAL)
    where = "this environment" if _is_here(_interpreter_of(start)) else "another environment"
    return Finding(
        "warning",
        TOPIC,
        f"{found} is nnU-Net's own, of {where}, and knows none of our flags",
        f"{EVAL}; spinesegdiff predict does without",
    )


def _ours(found: str) -> Finding:
    """Our command starts the Python that `spinesegdiff env` wrote down, or else the first on the PATH."""
    python = os.environ.get("spinesegdiff_python") or shutil.which("python3")
    if not _is_here(python):
        return Finding("warning", TOPIC, f"{NAME} is ours, but starts {python} of another environment", EVAL)
    return Finding("ok", TOPIC, f"{NAME} is ours, with all flags: {found}")


def _interpreter_of(script: str) -> str | None:
    """The Python that a console script starts: its first line, or its second where the path is long."""
    match = re.match(r"#!\s*(\S*python\S*)|#!/bin/sh\n'''exec' \"?([^\"\n]+?)\"? \"\$0\"", script)
    return next((group for group in match.groups() if group), None) if match else None


def _is_here(python: str | None) -> bool:
    """Whether an interpreter belongs to the environment that runs this."""
    if python is None:
        return False
    try:
        done = subprocess.run(
            [python, "-c", "import sys; print(sys.prefix)"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return os.path.realpath(done.stdout.strip()) == os.path.realpath(sys.prefix)
