"""MetaImage files (.mha, .mhd). MetaIO tells of damage on stderr only, so their bytes are counted before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from .inflated import inflate_zlib
from .itk import bytes_of_voxels, read_image
from .refusal import DAMAGED, Refusal
from .spacing import refuse_no_spacing

META_IO = "MetaImageIO"

_MOST_HEADER = 1 << 16
_LAST_FIELD = re.compile(
    rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*?)[ \t]*(?:\r?\n|\Z)", re.MULTILINE
)
_FIELD = re.compile(r"^\s*(\w+)\s*[=:]\s*(.*?)\s*$", re.MULTILINE)
_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")
_DIRECTIONS = {"TransformMatrix", "Rotation", "Orientation"}


@dataclass(frozen=True)
class _Header:
    """Fields of a header, and where its voxels begin in which file; None where they are in several."""

    text: bytes
    fields: dict[str, str]
    data: Path | None
    offset: int

    def says(self, field: str, words: tuple[str, ...]) -> bool:
        return self.fields.get(field, "").lower() in words


def read_metaimage(path: Path, folder: Path) -> sitk.Image:
    """Read a .mha or .mhd.

    Args:
        folder: for a file that is needed while reading.

    Raises:
        Refusal: it is damaged or does not say which way its axes run.
    """
    header = _header(path)
    refuse_no_spacing(_numbers(header.fields.get("ElementSpacing", "")))
    if not _DIRECTIONS & set(header.fields):
        raise Refusal("has no TransformMatrix, nothing tells left from right: convert the original again")
    if header.data is None:
        return read_image((path,), META_IO)
    if not header.data.is_file():
        raise Refusal(f"its data file {header.data.name} is missing: put it beside the header")
    plain = path
    if header.says("CompressedData", _TRUE):
        plain = _inflated(header, folder / "inflated.mha")
        header = _header(plain)
    if not _has_its_voxels(header, plain):
        raise Refusal(DAMAGED)
    return read_image((plain,), META_IO)


def data_file(path: Path) -> Path | None:
    """The file that a header's voxels are in; None where they are in several.

    Raises:
        Refusal: it is no header of a MetaImage.
    """
    return _header(path).data


def _header(path: Path) -> _Header:
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER)
    last = _LAST_FIELD.search(start)
    if last is None or not last[1]:
        raise Refusal("is no MetaImage file, or truncated: copy or download it again")
    text = start[: last.end()]
    fields = dict(_FIELD.findall(text.decode("latin-1")))
    where = last[1].decode("utf-8", "surrogateescape")
    if where.upper() == "LOCAL":
        return _Header(text, fields, path, last.end())
    if where.upper().startswith("LIST") or "%" in where:
        return _Header(text, fields, None, 0)
    return _Header(text, fields, path.parent / where, max(int(fields.get("HeaderSize", "0")), 0))


def _has_its_voxels(header: _Header, path: Path) -> bool:
    assert header.data is not None
    if header.says("BinaryData", _FALSE):
        return True  # of numbers as text ITK misses those that are not there
    return header.data.stat().st_size - header.offset >= bytes_of_voxels(path, META_IO)


def _inflated(header: _Header, target: Path) -> Path:
    """The same image in one file, not compressed."""
    assert header.data is not None
    dropped = (b"CompressedData", b"ElementDataFile", b"HeaderSize")
    lines = [line for line in header.text.splitlines() if not line.lstrip().startswith(dropped)]
    with header.data.open("rb") as packed, target.open("wb") as plain:
        plain.write(b"\n".join([*lines, b"CompressedData = False", b"ElementDataFile = LOCAL", b""]))
        packed.seek(header.offset)
        inflate_zlib(packed, plain)
    return target


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split()]
    except ValueError:
        return [float("nan")]
