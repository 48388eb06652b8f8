"""Whether nnU-Net finds our trainers: in the shell as it is, and after `eval "$(spinesegdiff env)"`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from ..environment import command_environment
from .finding import Finding
from .variables import EVAL

TOPIC = "trainers"
TRAINER = "nnUNetTrainerSpineSegDiff"
ASK = f"""
import sys
sys.path[:] = [folder for folder in sys.path if folder]
from nnunetv2_spinesegdiff.preflight import check_trainer
check_trainer({TRAINER!r})
"""


def check_trainers(seconds: float = 60) -> list[Finding]:
    """nnU-Net asked for our trainer, in a process of its own each time.

    Args:
        seconds: after which a process without an answer is ended.
    """
    now, after = (_ask(environment) for environment in (os.environ, command_environment()))
    answers = [_answer(process, seconds) for process in (now, after)]
    if answers[1]:
        return [
            Finding(
                "problem",
                TOPIC,
                f"nnU-Net does not find {TRAINER} even after {EVAL}: {answers[1]}",
                "install nnU-Net and this package anew, in a fresh virtual environment",
            )
        ]
    if answers[0]:
        return [
            Finding(
                "warning",
                TOPIC,
                f"nnU-Net does not find {TRAINER} in this shell, but does after {EVAL}",
                f"{EVAL}, before nnU-Net's own commands; those of spinesegdiff do without",
            )
        ]
    return [Finding("ok", TOPIC, f"nnU-Net finds {TRAINER}")]


def _ask(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ASK],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _answer(process: subprocess.Popen[str], seconds: float) -> str:
    """Empty where the trainer was found, else the last line of what went wrong."""
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"no answer within {seconds:g} s"
    if process.returncode == 0:
        return ""
    return (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
