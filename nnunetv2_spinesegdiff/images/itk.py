"""MetaImage and NRRD files, read by SimpleITK.

ITK fills in missing voxels without an error, and MetaIO reports damage on stderr only. So the bytes of a file
are counted before ITK reads it.
"""

from __future__ import annotations

import io
import re
import tempfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import SimpleITK as sitk

from .examination import check_kind, check_spacing
from .scan import DAMAGED, NO_DIRECTIONS, Refusal, ending_of_results, is_utf8

GZIP = b"\x1f\x8b"

_CHUNK = 1 << 20
_ZLIB_OR_GZIP = 47  # zlib's `wbits`
_LONGEST_HEADER = 1 << 16
_META, _NRRD = "MetaImageIO", "NrrdImageIO"
_FORMATS = {".mha": _META, ".nrrd": _NRRD}
_META_END = re.compile(r"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*[^\s][^\r\n]*(?:\r?\n|\Z)", re.MULTILINE)
_META_FIELD = re.compile(r"^[ \t]*(\w+)[ \t]*[=:][ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_NRRD_END = re.compile(r"\r?\n\r?\n")
_NRRD_FIELD = re.compile(r"^([^:#\r\n]+?)\s*:\s(.*?)\s*$", re.MULTILINE)
_AXES = ("domain", "space", "time")
_SPACES = (
    "left-posterior-superior",
    "right-anterior-superior",
    "left-anterior-superior",
    "lps",
    "ras",
    "las",
)
_PLACELESS = "so left and right cannot be determined: convert the original again"


@dataclass(frozen=True)
class Header:
    """What the header of a MetaImage or NRRD file states.

    Attributes:
        fields: by name; those of NRRD in lower case.
        data: file with the voxels; None if they are in several files.
        offset: of the voxels in that file, in bytes.
        encoding: "raw", "gzip" (or zlib), or "" for others, whose voxels ITK counts itself.
    """

    fields: dict[str, str]
    data: Path | None
    offset: int
    encoding: str


def read_checked(path: Path, placed: bool = True) -> sitk.Image:
    """Read a file of any format, a MetaImage or NRRD file only if voxels and directions are complete.

    Args:
        placed: False also reads files without directions, as ITK does.
    """
    if _format(path) == _META:
        header = read_header(path)
        fields = header.fields
        sizes = fields.get("ElementSpacing", fields.get("ElementSize", "")).split()
        if not sizes:  # ITK takes 1 mm
            raise Refusal("has no ElementSpacing, voxel sizes are unknown: convert the original again")
        try:
            check_spacing([float(size) for size in sizes])
        except ValueError as error:  # ITK takes 3 for "3,5"
            raise Refusal("a voxel size in its header is not a number: correct the header") from error
        if placed and not {"TransformMatrix", "Rotation", "Orientation"} & set(fields):
            raise Refusal(f"has no TransformMatrix, {_PLACELESS}")
        if header.data is not None and header.data.is_file() and header.encoding == "gzip":
            return _read_compressed_meta(fields, header.data, header.offset)
    elif _format(path) == _NRRD:
        # ITK takes time for a direction, an unknown space for LPS, and makes up missing directions.
        fields = read_header(path).fields
        axes = [kind for kind in fields.get("kinds", "").lower().split() if kind in _AXES]
        check_kind(max(len(axes), 3))
        directions, dimension = fields.get("space directions", "none").lower(), fields.get("dimension")
        known = fields.get("space", "").lower() in _SPACES and not ("none" in directions and dimension == "3")
        if placed and not known and dimension != "2":
            raise Refusal(f"has no anatomical space or no space directions, {_PLACELESS}")
    check_bytes(path)
    return read_image(path)


def _read_compressed_meta(fields: dict[str, str], data: Path, offset: int) -> sitk.Image:
    """Inflate the voxels first: MetaIO believes CompressedDataSize, and returns noise where that is wrong."""
    replaced = ("CompressedData", "CompressedDataSize", "HeaderSize", "ElementDataFile")
    lines = [f"{name} = {value}" for name, value in fields.items() if name not in replaced]
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        plain = Path(folder) / "image.mha"
        with data.open("rb") as packed, plain.open("wb") as target:
            target.write("\n".join([*lines, "ElementDataFile = LOCAL", ""]).encode("latin-1"))
            packed.seek(offset)
            inflate(packed, target)
        check_bytes(plain)
        return read_image(plain)


def read_image(path: Path, image_io: str = "") -> sitk.Image:
    """Read a file as ITK does, whatever the case of its ending; `image_io` is ITK's name of its format."""
    try:
        return open_image(path, image_io).Execute()
    except RuntimeError as error:
        raise _refusal(error) from error


def open_image(path: Path, image_io: str = "") -> sitk.ImageFileReader:
    """Read the header of a file as ITK does; the reader has size, spacing, origin and direction."""
    if not is_utf8(path):
        raise Refusal(f"{path.name!a} or its folder has a name that is not UTF-8: rename it")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io or _format(path))
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _refusal(error) from error
    return reader


def check_bytes(path: Path) -> None:
    """Check that all voxels that the header of a MetaImage or NRRD file announces are there."""
    if not _format(path) or (header := read_header(path)).data is None:
        return
    if not header.data.is_file():
        raise Refusal(f"its data file {header.data.name} is missing: put it next to the header")
    size = header.data.stat().st_size - header.offset
    if header.encoding == "gzip":
        with header.data.open("rb") as stream:
            stream.seek(header.offset)
            packed: BinaryIO = stream
            if _format(path) == _META:  # it takes as many bytes as its header states, and none by default
                stated = header.fields.get("CompressedDataSize", "0" if header.data == path else "")
                packed = io.BytesIO(stream.read(int(stated) if stated.isdecimal() else -1))
            size, _ = inflate(packed)
    if header.encoding:
        reader = open_image(path)
        announced = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID()).GetSizeOfPixelComponent()
        if size < announced * prod((reader.GetNumberOfComponents(), *reader.GetSize())):
            raise Refusal(DAMAGED)


def read_header(path: Path) -> Header:
    """Read the header of a MetaImage or NRRD file."""
    is_nrrd = _format(path) == _NRRD
    with path.open("rb") as stream:
        start = stream.read(_LONGEST_HEADER).decode("latin-1")
    end = (_NRRD_END if is_nrrd else _META_END).search(start)
    text, offset = (start[: end.end()], end.end()) if end else ("", 0)
    if is_nrrd:  # a header in a file of its own need not end with an empty line
        fields = {key.lower(): value for key, value in _NRRD_FIELD.findall(text or start)}
        where = fields.get("data file", fields.get("datafile", "" if end is None else "local"))
        encoding = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(fields.get("encoding", "").lower(), "")
        if any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip")):
            encoding = ""
    else:
        fields = dict(_META_FIELD.findall(text))
        where = fields.get("ElementDataFile", "")
        encoding = "gzip" if fields.get("CompressedData", "").lower() in ("true", "1", "t") else "raw"
        if fields.get("BinaryData", "").lower() in ("false", "0", "f"):
            encoding = ""
    if not where or (is_nrrd and not start.startswith("NRRD")):
        raise Refusal(f"is not {'an NRRD' if is_nrrd else 'a MetaImage'} file, or {DAMAGED}")
    if where.upper() == "LOCAL":
        return Header(fields, path, offset, encoding)
    try:
        offset = max(int(fields.get("HeaderSize", "0")), 0)
    except ValueError as error:
        raise Refusal("the HeaderSize in its header is not a number: correct the header") from error
    several = where.upper().startswith("LIST") or "%" in where
    name = where.encode("latin-1").decode("utf-8", "surrogateescape")
    return Header(fields, None if several else path.parent / name, offset, encoding)


def inflate(stream: BinaryIO, target: BinaryIO | None = None) -> tuple[int, bool]:
    """Inflate a zlib stream or a series of gzip members, comparing their checksums.

    Args:
        target: where the bytes are written; None counts them only.

    Returns:
        (number of bytes, whether bytes other than zeros follow the compressed ones)
    """
    size, inflater, block = 0, zlib.decompressobj(_ZLIB_OR_GZIP), stream.read(_CHUNK)
    try:
        while block:
            plain = inflater.decompress(block)
            size += len(plain)
            if target is not None:
                target.write(plain)
            block = stream.read(_CHUNK)
            if inflater.eof:
                block = inflater.unused_data + block
                if not block.startswith(GZIP):
                    return size, bool(block.strip(b"\0"))
                inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
    except zlib.error as error:
        raise Refusal(DAMAGED) from error
    raise Refusal(DAMAGED)


def _format(path: Path) -> str:
    """ITK's name of the format if it is MetaImage or NRRD."""
    return _FORMATS.get(ending_of_results(path.name), "")


def _refusal(error: RuntimeError) -> Refusal:
    lines = str(error).strip().splitlines() or [""]
    if "change spacing" in str(error):
        return Refusal("a voxel size in its header is 0 or NaN: correct the header or export it again")
    if "determinant" in str(error) or "orthonormal direction" in str(error):
        return Refusal(NO_DIRECTIONS)
    cause = re.sub(r"^ITK ERROR: (\w+\(0x[0-9a-f]+\): )?", "", lines[-1]).strip()
    return Refusal(f"cannot be read, {DAMAGED.removeprefix('is ')} ({cause})")
