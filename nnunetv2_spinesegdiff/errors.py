"""The one exception that a user is meant to read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType


class UserError(Exception):
    """A mistake of the input or the set-up, told in one line: the file, the cause and what to do.

    The commands print the message without a traceback and exit with status 1.
    """


class NotSupportedError(UserError, NotImplementedError):
    """Something that nnU-Net can do and this part of the package cannot."""


@contextmanager
def told_if_unwritable(path: Path, todo: str) -> Iterator[None]:
    """An OSError of the block becomes a `UserError`: the path cannot be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); {todo}") from error


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
