"""Zips that come from elsewhere: everything in them is checked before anything is unpacked."""

from __future__ import annotations

import hashlib
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PureWindowsPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from ..errors import UserError


class BadArchive(UserError):
    """A zip that no other attempt can unpack."""


@contextmanager
def opened(path: Path, *, by_name: bool = True) -> Iterator[ZipFile]:
    """Open a zip whose entries can be unpacked safely.

    Args:
        by_name: whether entries are unpacked under their own names, which must then differ in any case.

    Raises:
        BadArchive: it is not a zip, is damaged (also while it is read), or has unsafe or overlapping entries.
        OSError: it cannot be opened.
    """
    try:
        with ZipFile(path) as archive:
            check_entries(archive.infolist(), path, by_name=by_name)
            if sum(entry.compress_size for entry in archive.infolist()) > path.stat().st_size:
                raise BadArchive(path, "zip entries overlap", "refusing to open")
            yield archive
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        cause = f"is not a zip, or is truncated or damaged ({error})"
        raise BadArchive(path, cause, "copy or download it again") from error


def check_entries(entries: Iterable[ZipInfo], path: Path | str, *, by_name: bool = True) -> None:
    """Raise a BadArchive if an entry leaves the folder in which it is unpacked, or is unusual."""
    names = set[str]()
    for entry in entries:
        # `filename` ends at a NUL and, on Windows, has its backslashes replaced; this is what the zip states.
        name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
        windows = PureWindowsPath(name)  # separates at slashes and backslashes
        leaves = windows.anchor or ".." in windows.parts or "\0" in name
        nameless = not windows.parts and not name.endswith("/")  # "./" is the folder itself
        key = entry.filename.casefold() if by_name else entry.filename
        faults = {
            "would be written outside of its folder": leaves or nameless,
            "is a link": kind == stat.S_IFLNK,
            "is not a regular file": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
            "is compressed in an unusual way": entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED),
            "is encrypted": entry.flag_bits & 1,
            "is there more than once": key in names,
        }
        if found := [fault for fault, is_present in faults.items() if is_present]:
            raise BadArchive(path, f"{name[:200]!a} {found[0]}", "refusing to open")
        names.add(key)


def unpack(archive: ZipFile, files: Iterable[tuple[ZipInfo, PurePath]], folder: Path) -> dict[str, str]:
    """Write entries of an opened zip to new files, and return the SHA-256 (hexadecimal) of each by its name.

    Args:
        files: entries with the paths of their files in `folder`.
    """
    digests = {}
    for entry, path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        made = hashlib.sha256()
        with archive.open(entry) as packed, (folder / path).open("xb") as plain:
            while block := packed.read(1 << 20):
                made.update(block)
                plain.write(block)
        digests[entry.filename] = made.hexdigest()
    return digests
