"""Zips whose bytes depend on what is in them and on nothing else."""

from __future__ import annotations

import hashlib
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import torch

DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can store."""


class Packer:
    """Adds files below one folder of a zip.

    Attributes:
        files: as the `Manifest` has them, of all that were added.
    """

    def __init__(self, archive: ZipFile, folder: str):
        self.archive, self.folder = archive, folder
        self.files: dict[str, dict[str, Any]] = {}

    def add_text(self, name: str, text: str) -> None:
        stream = self._open(name, ZIP_DEFLATED)
        with stream:
            stream.write(text.encode())
        self._add(name, stream)

    def add_checkpoint(self, name: str, content: dict[str, Any], dtype: str) -> None:
        """Weights do not compress, so they are stored as they are, and are never in memory twice."""
        stream: Any = self._open(name, ZIP_STORED)
        with stream:
            torch.save(content, stream)
        self._add(name, stream)
        self.files[name]["dtype"] = dtype

    def _open(self, name: str, compression: int) -> _Hashed:
        info = ZipInfo(f"{self.folder}/{name}", DATE)
        info.compress_type = compression
        info.create_system = 3  # Unix, on Windows, too
        info.external_attr = 0o100644 << 16
        # Of a stream the size is not known before its end.
        return _Hashed(self.archive.open(info, "w", force_zip64=compression == ZIP_STORED))

    def _add(self, name: str, stream: _Hashed) -> None:
        self.files[name] = {"sha256": stream.digest.hexdigest(), "size": stream.size}


class _Hashed:
    """A stream that is written to, with SHA-256 and size of what went through it."""

    def __init__(self, stream: Any):
        self.stream, self.size, self.digest = stream, 0, hashlib.sha256()

    def write(self, part: Any) -> int:
        written = memoryview(part).nbytes
        self.digest.update(part)
        self.stream.write(part)
        self.size += written
        return written

    def flush(self) -> None:
        """torch asks for it."""

    def __enter__(self) -> _Hashed:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()
