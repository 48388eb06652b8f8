"""NRRD files (.nrrd, .nhdr). ITK counts their voxels, but for the check sum at the end of compressed ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from .inflated import inflate_gzip
from .itk import read_image
from .kind import refuse_dimensions
from .refusal import DAMAGED, Refusal

NRRD_IO = "NrrdImageIO"

_MOST_HEADER = 1 << 16
_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(r"^([^:#\r\n]+?)\s*:\s(.*?)\s*$", re.MULTILINE)
_SKIPS = ("line skip", "lineskip", "byte skip", "byteskip")
_AXES = ("domain", "space", "time")
_SPACES = (
    *("left-posterior-superior", "right-anterior-superior", "left-anterior-superior"),
    *("lps", "ras", "las"),
)
_REPLACED = (b"encoding:", b"data file:", b"datafile:")


@dataclass(frozen=True)
class _Header:
    """Lines and fields of a header, and where its voxels begin in which file; None for several."""

    lines: list[bytes]
    fields: dict[str, str]
    data: Path | None
    offset: int


def read_nrrd(path: Path, folder: Path) -> sitk.Image:
    """Read a .nrrd or .nhdr.

    Args:
        folder: for a file that is needed while reading.

    Raises:
        Refusal: it is damaged, holds several volumes, or does not say which way its axes run.
    """
    header = _header(path)
    axes = [kind for kind in header.fields.get("kinds", "").lower().split() if kind in _AXES]
    if len(axes) > 3:  # ITK takes time for a fourth direction in space
        refuse_dimensions(len(axes))
    _refuse_placeless(header.fields)
    if header.data is not None and not header.data.is_file():
        raise Refusal(f"its data file {header.data.name} is missing: put it beside the header")
    packed = header.fields.get("encoding", "").lower() in ("gzip", "gz")
    skips = any(header.fields.get(field, "0") != "0" for field in _SKIPS)
    if packed and header.data is not None and not skips:
        path = _inflated(header, folder / "inflated.nrrd")
    return read_image((path,), NRRD_IO)


def _refuse_placeless(fields: dict[str, str]) -> None:
    """ITK takes axes of an unknown space for LPS, and makes up the direction of an axis that has none."""
    directions = fields.get("space directions", "none")
    if fields.get("space", "").lower() not in _SPACES or (
        "none" in directions.lower() and fields.get("dimension") == "3"
    ):
        raise Refusal(
            "has no anatomical space or no space directions, nothing tells left from right: convert the "
            "original again"
        )


def data_file(path: Path) -> Path | None:
    """The file that a header's voxels are in; None where they are in several.

    Raises:
        Refusal: it is no header of an NRRD image.
    """
    return _header(path).data


def _header(path: Path) -> _Header:
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER)
    if not start.startswith(b"NRRD"):
        raise Refusal("is no NRRD file, or truncated: copy or download it again")
    end = _END.search(start)
    text = start[: end.start()] if end else start
    fields = {key.lower(): value for key, value in _FIELD.findall(text.decode("latin-1"))}
    where = fields.get("data file", fields.get("datafile"))
    if where is None:
        if end is None:
            raise Refusal(DAMAGED)
        return _Header(text.splitlines(), fields, path, end.end())
    one = not where.upper().startswith("LIST") and "%" not in where
    return _Header(text.splitlines(), fields, path.parent / where if one else None, 0)


def _inflated(header: _Header, target: Path) -> Path:
    """The same image in one file, not compressed."""
    assert header.data is not None
    lines = [line for line in header.lines if not line.lower().startswith(_REPLACED)]
    with header.data.open("rb") as packed, target.open("wb") as plain:
        plain.write(b"\n".join([*lines, b"encoding: raw", b"", b""]))
        packed.seek(header.offset)
        inflate_gzip(packed, plain)
    return target
