"""A folder for what is unpacked: gone afterwards, and after a kill gone with the next run."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..locks import lock

_PREFIX = "spinesegdiff_"
_LOCK = "lock"
_CONTENT = "content"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private temporary folder (scans may lie in it); those of killed runs are removed on the way.

    Raises:
        UserError: none can be made.
    """
    try:
        _remove_abandoned()
        # A model may still be mapped from its files; network file systems then keep the folder.
        folder_of_run = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"no temporary folder can be made ({reason}); make room, or name one in TMPDIR"
        ) from None
    with folder_of_run as made:
        descriptor = os.open(Path(made) / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(descriptor, wait=True)
            folder = Path(made) / _CONTENT
            folder.mkdir()
            yield folder
        finally:
            os.close(descriptor)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue  # somebody else's, or just being made
        try:
            # Not `lock`: where no locks are known, what a kill leaves cannot be told from a run, and stays.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Content is there once its run has the lock: without it, the run may be just about to take it.
            if (folder / _CONTENT).is_dir():
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # its run is alive
        finally:
            os.close(descriptor)
