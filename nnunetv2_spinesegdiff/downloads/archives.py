"""The files of a zip, and where they belong in its folder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..images.zips import BadArchive


@dataclass(frozen=True)
class Members:
    """The files of a zip.

    Attributes:
        files: entry to its path in the folder of the zip.
        left_out: names of hidden files, such as those that macOS adds.
    """

    files: dict[zipfile.ZipInfo, PurePosixPath]
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the files when they are unpacked."""
        return sum(info.file_size for info in self.files)


def members_of(entries: Collection[zipfile.ZipInfo], archive: str) -> Members:
    """Find where the files of a zip belong; `images/1_t1.mha` in `images.zip` is `1_t1.mha`, too.

    Args:
        entries: of the zip, checked (see `zips.opened`).
        archive: name of the zip.

    Raises:
        BadArchive: there are no files, or two files of one name.
    """
    folder = archive.removesuffix(".zip")
    files: dict[zipfile.ZipInfo, PurePosixPath] = {}
    left_out = []
    for entry in (entry for entry in entries if not entry.is_dir()):
        path = PurePosixPath(entry.filename)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            left_out.append(entry.filename)
        else:
            inside = path.parts[0] == folder and path.parts[1:]
            files[entry] = PurePosixPath(*path.parts[1:]) if inside else path
    if not files:
        raise BadArchive(f"{archive}: holds no files: check where it comes from")
    paths = list(files.values())
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise BadArchive(f"{archive}: holds {twice} twice; refusing to open: check where it comes from")
    return Members(files, tuple(left_out))


def unpacked_size(size: int, end: bytes) -> int | None:
    """Return the bytes that a zip holds unpacked; None if its list of files is not in its last bytes.

    Args:
        size: of the whole zip in bytes.
        end: its last bytes. 128 KiB hold the list of more than 1000 files.
    """
    try:
        with zipfile.ZipFile(_EndOfFile(size, end)) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError):  # what comes before the end was read
        return None


class _EndOfFile(io.BytesIO):
    """The last bytes of a file, at their positions in the whole file."""

    def __init__(self, size: int, end: bytes) -> None:
        super().__init__(end)
        self._missing = size - len(end)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = self._missing if whence == io.SEEK_SET else 0
        return super().seek(offset - start, whence) + self._missing

    def tell(self) -> int:
        return super().tell() + self._missing
