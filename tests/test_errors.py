"""What a user sees of an error."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff import errors


@pytest.mark.parametrize(
    ("code", "one_line"),
    [("raise UserError('scan.mha', 'is truncated', 'copy it again')", True), ("1 / 0", False)],
)
def test_mistakes_are_one_line_and_bugs_keep_their_traceback(code, one_line):
    prelude = "from nnunetv2_spinesegdiff.errors import *\nshow_user_errors_in_one_line()\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) != one_line
    assert (done.stderr == "error: scan.mha: is truncated; copy it again\n") == one_line


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((Path("scan.mha"), "is truncated", "copy it again"), "scan.mha: is truncated; copy it again"),
        (("scan.mha", "is truncated"), "scan.mha: is truncated"),
        ((None, "nnUNet_raw is not set", "export it"), "nnUNet_raw is not set; export it"),
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


def test_other_hooks_are_called_for_other_errors(monkeypatch, capsys):
    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: seen.append(error))
    errors.show_user_errors_in_one_line()
    installed = sys.excepthook
    errors.show_user_errors_in_one_line()
    assert sys.excepthook is installed
    error = ValueError("x")
    sys.excepthook(ValueError, error, None)
    sys.excepthook(errors.UserError, errors.UserError("x", "y"), None)
    assert seen == [error]
    assert capsys.readouterr().err == "error: x: y\n"
