"""Whose nnUNetv2_predict the shell finds, and which Python it starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.doctor.commands import NAME, check_predict_command
from nnunetv2_spinesegdiff.environment import COMMANDS

STOCK = "import sys\nfrom nnunetv2.inference.predict_from_raw_data import predict_entry_point\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The only folder on the PATH beside the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("spinesegdiff_python", raising=False)
    return folder


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def python_elsewhere(path: Path) -> Path:
    return script(path, "#!/bin/sh\necho /somewhere/else\n")


def test_none(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    finding = check_predict_command()
    assert (finding.level, finding.seen) == ("warning", f"no {NAME} is on the PATH")


def test_ours(folder, monkeypatch):
    monkeypatch.setenv("PATH", f"{COMMANDS}:{folder}:/usr/bin:/bin")
    monkeypatch.setenv("spinesegdiff_python", sys.executable)
    assert check_predict_command().level == "ok"


@pytest.mark.parametrize("told", [True, False])
def test_ours_with_another_python(folder, told, monkeypatch):
    """Told by the variable, or the first on the PATH."""
    monkeypatch.setenv("PATH", f"{COMMANDS}:{folder}:/usr/bin:/bin")
    other = python_elsewhere(folder / "python3")
    if told:
        monkeypatch.setenv("spinesegdiff_python", str(other))
    finding = check_predict_command()
    assert finding.level == "warning"
    assert f"starts {other} of another environment" in finding.seen


def test_ours_with_a_python_that_is_gone(folder, monkeypatch):
    monkeypatch.setenv("PATH", f"{COMMANDS}:/usr/bin:/bin")
    monkeypatch.setenv("spinesegdiff_python", str(folder / "python3"))
    assert check_predict_command().level == "warning"


def test_of_another_copy(folder):
    script(folder / NAME, (COMMANDS / NAME).read_text())
    finding = check_predict_command()
    assert finding.level == "warning"
    assert "another copy" in finding.seen


@pytest.mark.parametrize("first", ["#!{}\n", "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n"])
@pytest.mark.parametrize("here", [True, False])
def test_stock(folder, first, here):
    python = sys.executable if here else python_elsewhere(folder / "python3")
    script(folder / NAME, first.format(python) + STOCK)
    finding = check_predict_command()
    assert finding.level == "warning"
    assert f"nnU-Net's own, of {'this' if here else 'another'} environment" in finding.seen
    assert "spinesegdiff env" in finding.advice


def test_stock_that_is_no_script(folder):
    path = folder / NAME
    path.write_bytes(b"\x7fELF\xff\xfe")
    path.chmod(0o755)
    assert "another environment" in check_predict_command().seen
