"""What runs without the extras of setup.cfg, and what a command says whose extra is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.cli import main, words

ROOT = Path(__file__).resolve().parents[1]
MODULES = {"Jinja2": "jinja2", "PyYAML": "yaml"}
"""Of packages that are imported under another name."""


def test_the_modules_are_those_of_the_packages_in_setup_cfg():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    packages = {extra: re.findall(r"(?m)^[\w-]+|^%\(\w+\)s", extras[extra]) for extra in words.EXTRAS}
    assert {e: {MODULES.get(p, p) for p in names} for e, names in packages.items()} == {
        extra: set(modules) for extra, modules in words.EXTRAS.items()
    }
    everything = {
        package for extra in ("reproduce", "download", "dicom") for package in extras[extra].split()
    }
    assert set(extras["all"].split()) == everything


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        (["download", "-o", "out"], "pooch", "download"),
        (["report", "-o", "page.html", "-s", "refined=masks"], "statsmodels", "evaluation"),
        (["demo-train", "-o", "out"], "monai", "evaluation"),
        (["reproduce", "--table", "1", "-d", "501"], "yaml", "reproduce"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_done(
    command, module, extra, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    found = words.find_spec
    monkeypatch.setattr(words, "find_spec", lambda name: None if name == module else found(name))
    assert main(command) == 1
    error = capsys.readouterr().err
    assert f"{module}: not installed" in error
    assert f"nnunetv2_spinesegdiff[{extra}]" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_training_and_segment_need_no_extra():
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("monai", "statsmodels", "pooch", "highdicom"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from nnunetv2_spinesegdiff import SpineSegmenter, cli
from nnunetv2_spinesegdiff.calibration import command
from nnunetv2_spinesegdiff.dataset_conversion import convert
from nnunetv2_spinesegdiff.inference import command
from nnunetv2_spinesegdiff.segmentation import cohort
from nnunetv2_spinesegdiff.sharing import export
from nnunetv2_spinesegdiff.training import presegment, trainers
cli.build_parser()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
