"""The zip of a DICOM exam: what lies in it, and one member after the other on the disk."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from .dicom_files import is_bare, is_dicom
from .refusal import DAMAGED, Refusal

MOST_BYTES = 8 << 30
_START = 1024


def holds_dicom_image(archive: zipfile.ZipFile) -> bool:
    """Whether any member looks like a DICOM image; only their first bytes are inflated."""
    return any(looks_like_dicom(archive, member) for member in files_in(archive))


def files_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in a zip but for hidden ones, by name."""
    files = (member for member in archive.infolist() if not member.is_dir())
    visible = (m for m in files if not any(part.startswith(".") for part in PurePosixPath(m.filename).parts))
    return sorted(visible, key=lambda member: member.filename)


def looks_like_dicom(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    with archive.open(member) as stream:
        start = stream.read(_START)
    return is_dicom(start) or is_bare(start)


def refuse_unsafe(archive: zipfile.ZipFile) -> None:
    """Refuse a zip that would leave its place, or fill the disk, if it were unpacked.

    Raises:
        Refusal: a member has an absolute path, a path with "..", or is a link or encrypted; or all of them
            together have more than 8 GiB.
    """
    members = archive.infolist()
    for member in members:
        what = _why_unsafe(member)
        if what:
            raise Refusal(f"its member {member.filename!r} {what}; unpack it yourself, or zip the exam again")
    total = sum(member.file_size for member in members)
    if total > MOST_BYTES:
        raise Refusal(
            f"holds {total / (1 << 30):.1f} GiB unpacked, more than {MOST_BYTES >> 30}; zip the one series"
        )


def _why_unsafe(member: zipfile.ZipInfo) -> str:
    kinds = (PurePosixPath(member.filename), PureWindowsPath(member.filename))
    if any(path.is_absolute() or path.anchor for path in kinds):
        return "has an absolute path"
    if any(".." in path.parts for path in kinds):
        return "leads out of the zip"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    return "is encrypted" if member.flag_bits & 1 else ""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip, open for reading.

    Raises:
        Refusal: it is no zip, damaged, or packed in a way that Python cannot read; within the block, too.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except NotImplementedError as error:
        raise Refusal(f"is packed in a way that cannot be read ({error}); zip the exam again") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Refusal(DAMAGED) from error


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    """Write one member to `target`. What it is called in the zip has no say in where that is."""
    with archive.open(member) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)
    return target
