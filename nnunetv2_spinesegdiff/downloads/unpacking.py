"""A zip to its folder, whole or not at all, with a record by which a whole folder is known later."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from zipfile import ZipFile

from tqdm import tqdm

from ..errors import UserError
from ..files import save_json
from ..images import zips
from .archives import Members, members_of
from .disk import check_free, is_full

RECORD = ".spinesegdiff_download.json"
"""Lies in an unpacked folder and lists its files; hidden, so that nothing takes it for data."""


def unpack(archive: Path, target: Path, room: Path, sha256: str) -> Members:
    """Unpack a zip into a folder that appears under its name only when it is whole.

    Args:
        archive: the zip, checked against its checksum already.
        target: the folder; missing or empty.
        room: where the folder grows, on the same disk.
        sha256: of the zip, for the record.

    Returns:
        What has been unpacked.

    Raises:
        BadArchive: the zip is damaged or unsafe (see `zips.opened`), or `members_of` rejects it.
        UserError: the disk is full or cannot be written. In either case nothing is left of the folder.
    """
    growing = room / f"{target.name}.unpacking"
    try:
        with zips.opened(archive) as source:
            members = members_of(source.infolist(), archive.name)
            check_free(target.parent, members.size, f"to unpack {archive.name}")
            growing.mkdir()
            _write_files(source, members, growing)
        files = {str(path): info.file_size for info, path in members.files.items()}
        save_json({"sha256": sha256, "files": files}, growing / RECORD)
        os.rename(growing, target)
    except OSError as error:
        if is_full(error):
            raise UserError(
                f"{target}: the disk is full, nothing of it was kept but {archive.name}: free some space, "
                "then run the same command again"
            ) from error
        raise UserError(f"{target}: cannot be written ({error.strerror or error}): check the disk") from error
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return members


def _write_files(source: ZipFile, members: Members, folder: Path) -> None:
    bar = tqdm(members.files.items(), desc=f"Unpacking {Path(source.filename or '').name}", unit="files")
    for entry, path in bar:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        zips.extract(source, entry, place)


def what_is_wrong(folder: Path, sha256: str) -> str:
    """Why a folder is not, or no longer, the whole content of a zip; empty where nothing is wrong.

    Files are compared by name and size, so that hundreds of them take no time.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        expected, files = record["sha256"], dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "was not made by this command"
    if expected != sha256:
        return "was made from another version"
    lost = [name for name in files if not (folder / name).is_file()]
    if lost:
        return f"lacks {len(lost)} of {len(files)} files, {lost[0]} for example"
    changed = [name for name, size in files.items() if (folder / name).stat().st_size != size]
    return f"holds files that were changed, {changed[0]} for example" if changed else ""
