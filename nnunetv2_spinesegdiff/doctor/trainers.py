"""Whether nnU-Net finds our trainers: in the shell as it is, and after `eval "$(spinesegdiff env)"`."""

from __future__ import annotations

import json
import subprocess
import sys

from .finding import Finding
from .variables import EVAL

TOPIC = "trainers"
TRAINER = "nnUNetTrainerSpineSegDiff"
ASK = f"""
import json, sys
sys.path[:] = [folder for folder in sys.path if folder]
from nnunetv2_spinesegdiff.environment import make_trainers_known
from nnunetv2_spinesegdiff.preflight import check_trainer
def answer():
    try:
        check_trainer({TRAINER!r})
    except Exception as error:
        return type(error).__name__ + ": " + " ".join(str(error).split())
    return ""
now = answer()
make_trainers_known()
print(json.dumps([now, answer()]))
"""


def check_trainers(seconds: float = 60) -> Finding:
    """nnU-Net asked for our trainer twice, in a process of its own.

    Args:
        seconds: after which a process without an answer is ended.
    """
    try:
        now, after = _answers(seconds)
    except subprocess.TimeoutExpired:
        return Finding(
            "warning",
            TOPIC,
            f"nnU-Net did not tell within {seconds:g} s whether it finds {TRAINER}",
            "ask again when the machine, or the disk that Python is on, is less busy",
        )
    if after:
        return Finding(
            "problem",
            TOPIC,
            f"nnU-Net does not find {TRAINER} even after {EVAL}: {after[:200]}",
            "install nnU-Net and this package anew, in a fresh virtual environment",
        )
    if now:
        return Finding(
            "warning",
            TOPIC,
            f"nnU-Net does not find {TRAINER} in this shell, but does after {EVAL}",
            f"{EVAL}, before nnU-Net's own commands; those of spinesegdiff do without",
        )
    return Finding("ok", TOPIC, f"nnU-Net finds {TRAINER}")


def _answers(seconds: float) -> tuple[str, str]:
    """What goes wrong now, and with our folder known; empty where the trainer is found."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return ("", told[-1])
    now, after = json.loads(done.stdout.splitlines()[-1])
    return now, after
