"""Unpack a zip to a folder, whole or not at all, with a record that identifies a complete folder later."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile, ZipInfo

from tqdm import tqdm

from ..files import save_json
from ..images import zips

RECORD = ".spinesegdiff_download.json"  # hidden file in an unpacked folder that lists its files


class Members(NamedTuple):
    """The files of a zip."""

    files: dict[ZipInfo, PurePosixPath]  # with paths in the folder of the zip
    hidden: list[str]  # such as those that macOS adds; they are not unpacked

    @property
    def size(self) -> int:
        """Unpacked size in bytes."""
        return sum(entry.file_size for entry in self.files)


def list_members(archive: ZipFile, name: str) -> Members:
    """List the files of a zip; both `images/1_t1.mha` and `1_t1.mha` in `images.zip` become `1_t1.mha`."""
    folder, members = name.removesuffix(".zip"), Members({}, [])
    for entry in (entry for entry in archive.infolist() if not entry.is_dir()):
        path = PurePosixPath(entry.filename)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            members.hidden.append(entry.filename)
        else:
            inside = path.parts[0] == folder and path.parts[1:]
            members.files[entry] = PurePosixPath(*path.parts[1:]) if inside else path
    if not members.files:
        raise zips.BadArchive(name, "holds no files", "check where it comes from")
    (path, count), *_ = Counter(members.files.values()).most_common(1)
    if count > 1:
        raise zips.BadArchive(name, f"holds {path} twice", "refusing to open; check where it comes from")
    return members


def unpack(archive: Path, target: Path, room: Path, sha256: str) -> Members:
    """Unpack a zip into a folder that gets its name only when it is complete.

    Args:
        target: the folder; missing or empty.
        room: folder for temporary files, on the same disk.
        sha256: of the zip, for the record.

    Raises:
        BadArchive: the zip is damaged or unsafe (see `zips.opened` and `list_members`).
        OSError: it cannot be unpacked, because the disk is full for example. Nothing is left of the folder.
    """
    temporary = room / f"{target.name}.unpacking"
    try:
        with zips.opened(archive) as source:
            members = list_members(source, archive.name)
            temporary.mkdir()
            bar = tqdm(members.files.items(), desc=f"Unpacking {archive.name}", unit="files")
            zips.unpack(source, bar, temporary)
        files = {str(path): entry.file_size for entry, path in members.files.items()}
        save_json({"sha256": sha256, "files": files}, temporary / RECORD)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return members


def find_fault(folder: Path, sha256: str) -> str:
    """Return why a folder is not the complete content of a zip, by names and sizes; empty if it is."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        expected, files = record["sha256"], dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "was not made by this command"
    if expected != sha256:
        return "was made from another version"
    if missing := [name for name in files if not (folder / name).is_file()]:
        return f"lacks {len(missing)} of {len(files)} files, for example {missing[0]}"
    changed = [name for name, size in files.items() if (folder / name).stat().st_size != size]
    return f"holds changed files, for example {changed[0]}" if changed else ""


def unpacked_size(size: int, end: bytes) -> int | None:
    """Return the unpacked size of a zip in bytes; None if the list of its files is not in its `end`.

    Args:
        size: of the whole zip in bytes. The last 128 KiB hold the list of more than 1000 files.
    """
    try:
        with ZipFile(_EndOfFile(size, end)) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (BadZipFile, ValueError):  # the list begins before the last bytes
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
