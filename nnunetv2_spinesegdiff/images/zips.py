"""Zips that come from elsewhere: everything in them is checked before anything is unpacked."""

from __future__ import annotations

import hashlib
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from ..errors import UserError

_BLOCK = 1 << 20


class BadArchive(UserError):
    """A zip that no other attempt can unpack."""


@contextmanager
def opened(path: Path, *, by_name: bool = True) -> Iterator[ZipFile]:
    """Open a zip whose entries can be unpacked safely.

    Args:
        by_name: whether entries are unpacked under their own names, which must then differ in any case.

    Raises:
        BadArchive: it is not a zip, is damaged, or holds unsafe entries (see `check_entries`) or entries that
            overlap; also while it is read.
        OSError: it cannot be opened.
    """
    try:
        with ZipFile(path) as archive:
            check_entries(archive.infolist(), path, by_name=by_name)
            if sum(entry.compress_size for entry in archive.infolist()) > path.stat().st_size:
                raise BadArchive(path, "zip entries overlap", "refusing to open")
            yield archive
    except NotImplementedError as error:
        raise BadArchive(path, f"cannot be unpacked ({error})", "make the zip again") from error
    except (BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise BadArchive(
            path, f"is not a zip, or is truncated or damaged ({error}): copy or download it again"
        ) from error


def check_entries(entries: Iterable[ZipInfo], path: Path | str, *, by_name: bool = True) -> None:
    """Check that the entries of a zip stay in the folder in which they are unpacked.

    Raises:
        BadArchive: an entry has a path that leaves the folder, is a link or another special file, is
            encrypted, is compressed by another method than deflate, or has the name of another one.
    """
    names: Counter[str] = Counter()
    for entry in entries:
        if cause := _why_unsafe(entry):
            raise BadArchive(path, f"{entry.orig_filename[:200]!a} {cause}", "refusing to open")
        names[entry.filename.casefold() if by_name else entry.filename] += 1
    if repeated := [name for name, count in names.items() if count > 1]:
        raise BadArchive(path, f"holds {repeated[0]} more than once", "refusing to open")


def _why_unsafe(entry: ZipInfo) -> str:
    # `filename` ends at a NUL and, on Windows, has its backslashes replaced; this is what the zip states.
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    windows = PureWindowsPath(name)  # separates at slashes and backslashes
    nameless = not windows.parts and not name.endswith("/")  # "./" is the folder itself
    if windows.anchor or ".." in windows.parts or nameless or "\0" in name:
        return "would be written outside of its folder"
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is not a regular file"
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "is compressed in an unusual way"
    return "is encrypted" if entry.flag_bits & 1 else ""


def extract(archive: ZipFile, entry: ZipInfo, target: Path) -> str:
    """Write an entry to a new file, whatever the entry is called.

    Returns:
        The SHA-256 of the content, in hexadecimal.
    """
    made = hashlib.sha256()
    with archive.open(entry) as packed, target.open("xb") as plain:
        while block := packed.read(_BLOCK):
            made.update(block)
            plain.write(block)
    return made.hexdigest()
