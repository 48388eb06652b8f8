"""What a user sees of an error."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff import errors


def run(code: str) -> subprocess.CompletedProcess:
    prelude = "from nnunetv2_spinesegdiff.errors import *\nshow_user_errors_in_one_line()\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_users_mistake_is_one_line():
    done = run("raise UserError('scan.mha: is truncated; copy it again')")
    assert done.returncode == 1
    assert done.stderr == "error: scan.mha: is truncated; copy it again\n"


def test_a_bug_keeps_its_traceback():
    done = run("1 / 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((Path("scan.mha"), "is truncated", "copy it again"), "scan.mha: is truncated; copy it again"),
        (("scan.mha", "is truncated"), "scan.mha: is truncated"),
        ((None, "nnUNet_raw is not set", "export it"), "nnUNet_raw is not set; export it"),
        (("nnUNet_raw is not set",), "nnUNet_raw is not set"),
    ],
)
def test_the_parts_of_an_error_are_rendered_in_one_line_in_every_process(parts, message):
    error = errors.UserError(*parts)
    copy = pickle.loads(pickle.dumps(error))
    assert str(error) == str(copy) == message
    assert (copy.subject, copy.cause, copy.advice) == (error.subject, error.cause, error.advice)


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_what_cannot_be_written_is_named(kind):
    with pytest.raises(errors.UserError) as caught, errors.writing(Path("out"), "make room", RuntimeError):
        raise kind("no space left")
    assert str(caught.value) == "out: cannot be written (no space left); make room"


@pytest.fixture
def hook(monkeypatch):
    """Installs the hook over a recording one."""
    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: seen.append(error))
    errors.show_user_errors_in_one_line()
    return seen


def test_other_hooks_are_called_for_other_errors(hook, capsys):
    error = ValueError("x")
    sys.excepthook(ValueError, error, None)
    sys.excepthook(errors.UserError, errors.UserError("y"), None)
    assert hook == [error]
    assert capsys.readouterr().err == "error: y\n"


def test_installing_it_again_changes_nothing(hook):
    installed = sys.excepthook
    errors.show_user_errors_in_one_line()
    assert sys.excepthook is installed
