"""A place for what is not whole yet, in the folder that it is for."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..locks import lock

ROOM = ".download"
"""In the output folder; gone when all is whole."""


@contextmanager
def working_room(output: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder in the output for what is not whole; removed if it is empty in the end, like a new output.

    Args:
        output: folder, made if missing.
        names: of the files that may come; they, their parts and the notes on these outlive a killed run.

    Raises:
        UserError: another process is at work there.
        OSError: the output cannot be written.
    """
    new, room = not output.exists(), output / ROOM
    room.mkdir(parents=True, exist_ok=True)
    with _held(room):
        try:
            with tempfile.TemporaryFile(dir=room):
                pass
            _remove_leftovers(room, names)
            yield room
        finally:
            _remove_if_empty(room)
            if new:
                _remove_if_empty(output)


@contextmanager
def _held(room: Path) -> Iterator[None]:
    descriptor = os.open(room, os.O_RDONLY)
    try:
        if not lock(descriptor):
            raise UserError(f"{room.parent}: another process downloads into it: wait for it")
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(room: Path, names: Sequence[str]) -> None:
    """What a run that was killed left, but for what can be gone on with."""
    useful = {f"{name}{ending}" for name in names for ending in ("", ".part", ".part.json")}
    for path in room.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in useful:
            path.unlink()


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
