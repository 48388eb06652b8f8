"""A folder for what is unpacked: gone afterwards, and after a kill gone with the next run."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from ..locks import locked
from ..text import reason_of

_PREFIX = "spinesegdiff_"
_LOCK = "lock"
_CONTENT = "content"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private temporary folder, which may hold scans; those of killed runs are removed on the way.

    Raises:
        UserError: none can be made.
    """
    try:
        _remove_abandoned()
        # A model may still be mapped from its files; network file systems then keep the folder.
        folder_of_run = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(
            None, f"no temporary folder can be made ({reason_of(error)})", "make room, or name one in TMPDIR"
        ) from None
    with folder_of_run as made, locked(Path(made) / _LOCK, wait=True):
        folder = Path(made) / _CONTENT
        folder.mkdir()
        yield folder


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        content = folder / _CONTENT
        # A run makes its content once it has the lock: without it, the run may be just about to take it.
        if not (content.is_dir() and (folder / _LOCK).is_file()):
            continue
        with contextlib.suppress(OSError):  # another user's
            # Without locks, an abandoned folder looks like one in use, and stays.
            with locked(folder / _LOCK, without_locks=False) as abandoned:
                if abandoned:
                    shutil.rmtree(content, ignore_errors=True)
            if abandoned:  # Windows removes no file that is open.
                shutil.rmtree(folder, ignore_errors=True)
