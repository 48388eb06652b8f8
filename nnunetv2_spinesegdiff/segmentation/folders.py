"""Folders for what calls of one object unpack: each outlives its call, for what may yet be saved of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .many import scratch_for_scan


class FoldersOfCalls:
    """A folder a call below `scratch`; those of calls that have ended go when the next one begins."""

    def __init__(self, scratch: Path):
        self._scratch = scratch
        self._ended: list[Path] = []

    @contextmanager
    def one(self) -> Iterator[Path]:
        """The folder of a call.

        Raises:
            UserError: the disk is full.
        """
        while self._ended:
            shutil.rmtree(self._ended.pop(), ignore_errors=True)
        folder = scratch_for_scan(self._scratch)
        try:
            yield folder
        finally:
            self._ended.append(folder)
