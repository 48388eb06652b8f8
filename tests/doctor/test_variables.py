"""nnU-Net's folders and nnUNet_extTrainer: set, there, writable, ours."""

from __future__ import annotations

import os

import pytest

from nnunetv2_spinesegdiff.doctor import variables
from nnunetv2_spinesegdiff.doctor.variables import NEEDED_FOR, check_external_trainers, check_folder
from nnunetv2_spinesegdiff.environment import TRAINERS

VARIABLE = "nnUNet_extTrainer"


@pytest.mark.parametrize("variable", NEEDED_FOR)
def test_a_folder(variable, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, str(tmp_path))
    finding = check_folder(variable)
    assert (finding.level, finding.seen) == ("ok", f"{variable}={tmp_path}")


@pytest.mark.parametrize("value", ["", None])
def test_unset_is_no_problem_for_segment(value, monkeypatch):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    if value is not None:
        monkeypatch.setenv("nnUNet_raw", value)
    finding = check_folder("nnUNet_raw")
    assert (finding.level, finding.seen) == ("warning", "nnUNet_raw is not set")
    assert "converting" in finding.advice
    assert "segment" in finding.advice


def test_a_folder_that_is_none(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    for value, says in ((tmp_path / "gone", "is not there"), (file, "is a file")):
        monkeypatch.setenv("nnUNet_results", str(value))
        finding = check_folder("nnUNet_results")
        assert finding.level == "problem"
        assert finding.seen == f"nnUNet_results={value} {says}"


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    finding = check_folder("nnUNet_raw")
    assert finding.level == "warning"
    assert "not written" in finding.seen


def levels(monkeypatch, *folders) -> dict[str, str]:
    """Seen to level of what nnUNet_extTrainer of these folders gives."""
    monkeypatch.setenv(VARIABLE, os.pathsep.join(map(str, folders)))
    return {finding.seen: finding.level for finding in check_external_trainers()}


def test_our_trainers(tmp_path, monkeypatch):
    ours = {"nnUNet_extTrainer holds our trainers": "ok"}
    assert levels(monkeypatch, TRAINERS) == ours
    assert levels(monkeypatch, tmp_path, TRAINERS) == ours
    link = tmp_path / "link"
    link.symlink_to(TRAINERS)
    assert levels(monkeypatch, f"{link}/") == ours


def test_trainers_that_are_not_ours(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (finding,) = check_external_trainers()
    assert (finding.level, finding.seen) == ("warning", "nnUNet_extTrainer is not set")
    assert variables.EVAL in finding.advice
    assert levels(monkeypatch, tmp_path) == {"nnUNet_extTrainer does not hold our trainers": "warning"}


def test_another_copy_and_a_folder_that_is_gone(tmp_path, monkeypatch):
    copy, gone = tmp_path / "copy", tmp_path / "gone"
    copy.mkdir()
    (copy / "spinesegdiff_trainers.py").touch()
    other = {f"nnUNet_extTrainer: {copy} is of another copy of this package": "warning"}
    assert levels(monkeypatch, copy) == other
    assert levels(monkeypatch, gone, copy, TRAINERS) == {
        f"nnUNet_extTrainer: {gone} is not there, and nnU-Net skips it": "warning",
        **other,
        "nnUNet_extTrainer holds our trainers": "ok",
    }
