"""The page on nnU-Net's commands: every script is in it, and the tests that it names exist."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "nnunet_commands.md").read_text("utf-8")
TESTS = (ROOT / "tests" / "end_to_end" / "test_nnunet_commands.py").read_text("utf-8")


def test_every_script_of_nnunet_is_listed():
    scripts = {one.name for one in entry_points(group="console_scripts") if one.name.startswith("nnUNetv2_")}
    assert len(scripts) > 15
    assert set(re.findall(r"(?m)^\| `(nnUNetv2_\w+)` ", PAGE)) == scripts


def test_the_page_names_every_test_of_its_file_and_no_other():
    assert set(re.findall(r"`(test_\w+)`", PAGE)) == set(re.findall(r"(?m)^def (test_\w+)", TESTS))
