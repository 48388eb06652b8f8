"""What a user sees of an error."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nnunetv2_spinesegdiff import errors


@pytest.mark.parametrize(
    ("code", "one_line"),
    [("raise UserError('scan.mha: is truncated; copy it again')", True), ("1 / 0", False)],
)
def test_mistakes_are_one_line_and_bugs_keep_their_traceback(code, one_line):
    prelude = "from nnunetv2_spinesegdiff.errors import *\nshow_user_errors_in_one_line()\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) != one_line
    assert (done.stderr == "error: scan.mha: is truncated; copy it again\n") == one_line


def test_other_hooks_are_called_for_other_errors(monkeypatch, capsys):
    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: seen.append(error))
    errors.show_user_errors_in_one_line()
    installed = sys.excepthook
    errors.show_user_errors_in_one_line()
    assert sys.excepthook is installed
    error = ValueError("x")
    sys.excepthook(ValueError, error, None)
    sys.excepthook(errors.UserError, errors.UserError("y"), None)
    assert seen == [error]
    assert capsys.readouterr().err == "error: y\n"
