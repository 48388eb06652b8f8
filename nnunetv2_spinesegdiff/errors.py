"""The one exception that a user is meant to read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from .text import reason_of


class UserError(Exception):
    """A mistake in the input or the setup, which the user can correct.

    The commands print it in one line, "subject: cause; advice", without a traceback, and exit with status 1.

    Attributes:
        subject: the file, folder or option that the error is about; None if `cause` is a full sentence.
        cause: what is wrong.
        advice: what to do; may be empty.

    Examples:
        >>> from nnunetv2_spinesegdiff import UserError
        >>> str(UserError("scan.nii.gz", "the file is truncated", "copy it again"))
        'scan.nii.gz: the file is truncated; copy it again'
    """

    def __init__(self, subject: str | Path | None, cause: str, advice: str = "") -> None:
        super().__init__(subject, cause, advice)  # what pickle makes it of again
        self.subject = subject
        self.cause = cause
        self.advice = advice

    def __str__(self) -> str:
        text = self.cause if self.subject is None else f"{self.subject}: {self.cause}"
        return f"{text}; {self.advice}" if self.advice else text


class NotSupportedError(UserError, NotImplementedError):
    """Something that nnU-Net can do and this part of the package cannot."""


@contextmanager
def writing(path: Path, advice: str, *others: type[Exception]) -> Iterator[None]:
    """Raise a `UserError` that `path` cannot be written where an OSError or one of `others` is raised."""
    unwritable: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except unwritable as error:
        raise UserError(path, f"cannot be written ({reason_of(error)})", advice) from error


def show_user_errors_in_one_line() -> None:
    """Make an uncaught `UserError` print as one line; other exceptions keep their traceback."""
    previous = sys.excepthook
    if getattr(previous, "shows_user_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    hook.shows_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
