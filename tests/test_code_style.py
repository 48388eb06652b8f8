"""ruff (rules and formatting) and mypy have nothing to say; their settings are in ruff.toml and setup.cfg."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [
        "ruff check nnunetv2_spinesegdiff dataset_conversion tests benchmarks",
        "ruff format --check nnunetv2_spinesegdiff dataset_conversion tests benchmarks",
        "mypy nnunetv2_spinesegdiff dataset_conversion tests benchmarks",
    ],
    ids=["ruff", "ruff format", "mypy"],
)
def test_tool_is_content(command):
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
