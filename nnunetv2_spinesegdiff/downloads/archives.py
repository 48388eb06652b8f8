"""What a zip holds, and whether all of that may be unpacked."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from ..errors import UserError


class BadArchive(UserError):
    """A zip that no other attempt can unpack."""


@dataclass(frozen=True)
class Members:
    """The files of a zip.

    Attributes:
        files: entry to its path below the folder that the zip becomes.
        left_out: names of hidden files, such as those that a Mac adds.
    """

    files: dict[zipfile.ZipInfo, PurePosixPath]
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the files when they are unpacked."""
        return sum(info.file_size for info in self.files)


def members_of(entries: Iterable[zipfile.ZipInfo], archive: str) -> Members:
    """Where the files of a zip belong below its folder; `images/1_t1.mha` in `images.zip` is `1_t1.mha`, too.

    Args:
        entries: of the zip.
        archive: name of the zip.

    Raises:
        BadArchive: no files, or a path that leaves the folder, a link, an encrypted file, or two files of one
            name; names it.
    """
    folder = archive.removesuffix(".zip")
    files: dict[zipfile.ZipInfo, PurePosixPath] = {}
    left_out = []
    for entry in entries:
        _check_safe(entry, archive)
        if entry.is_dir():
            continue
        path = PurePosixPath(entry.filename)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            left_out.append(entry.filename)
            continue
        files[entry] = PurePosixPath(*path.parts[1:]) if path.parts[0] == folder and path.parts[1:] else path
    if not files:
        raise BadArchive(f"{archive}: holds no files: check where it comes from")
    paths = list(files.values())
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise BadArchive(f"{archive}: holds {twice} twice, nothing was unpacked: check where it comes from")
    return Members(files, tuple(left_out))


def _check_safe(entry: zipfile.ZipInfo, archive: str) -> None:
    # Zips name paths with slashes; a backslash or a drive is a path of its own on Windows.
    name = entry.filename
    path = PurePosixPath(name)
    leaves = path.is_absolute() or ".." in path.parts or "\\" in name or bool(PureWindowsPath(name).drive)
    if leaves or not path.parts:
        what = "would be written outside of its folder"
    elif stat.S_ISLNK(entry.external_attr >> 16):
        what = "is a link"
    elif entry.flag_bits & 0x1:
        what = "is encrypted"
    else:
        return
    raise BadArchive(f"{archive}: {name!r} {what}, nothing was unpacked: check where the zip comes from")


def unpacked_size(size: int, end: bytes) -> int | None:
    """Bytes that a zip holds unpacked, from its last bytes alone; None where its list does not lie in them.

    Args:
        size: of the whole zip in bytes.
        end: its last bytes. 128 KiB hold the list of more than 1000 files.
    """
    try:
        with zipfile.ZipFile(_EndOfFile(size, end)) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, _NotHere):
        return None


class _NotHere(Exception):
    """Something before the end was read."""


class _EndOfFile(io.RawIOBase):
    """A file of which only the end is there, at its true place."""

    def __init__(self, size: int, end: bytes) -> None:
        self._size, self._end, self._position = size, end, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        skipped = self._position - (self._size - len(self._end))
        if skipped < 0:
            raise _NotHere
        block = self._end[skipped:] if size is None or size < 0 else self._end[skipped : skipped + size]
        self._position += len(block)
        return block
