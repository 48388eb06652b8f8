"""ruff, mypy and codespell find nothing; their settings are in ruff.toml and setup.cfg."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [
        "ruff check nnunetv2_spinesegdiff dataset_conversion tests benchmarks docs",
        "ruff format --check nnunetv2_spinesegdiff dataset_conversion tests benchmarks docs",
        pytest.param(
            "mypy nnunetv2_spinesegdiff dataset_conversion tests benchmarks docs", marks=pytest.mark.slow
        ),
    ],
    ids=["ruff", "ruff format", "mypy"],
)
def test_tool_is_content(command):
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files_of_repository() -> list[str]:
    """Files under version control with text; all of them where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ["."]
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def test_words_are_spelled_right(tmp_path):
    pytest.importorskip("codespell_lib", reason="codespell is not installed: pip install '.[test]'")
    command = [sys.executable, "-m", "codespell_lib"]
    done = subprocess.run(
        [*command, *files_of_repository()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    planted = tmp_path / "planted.md"
    planted.write_text("A segmentaton of the spine is " + "rec" + "ieved.\n", encoding="utf-8")
    assert subprocess.run([*command, str(planted)], capture_output=True, check=False).returncode != 0
