"""MetaImage and NRRD files, read by SimpleITK.

ITK fills in missing voxels without an error, and MetaIO reports damage on stderr only. So the bytes of a file
are counted before ITK reads it.
"""

from __future__ import annotations

import io
import re
import tempfile
import zlib
from math import prod
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk

from .examination import check_kind, check_spacing
from .scan import DAMAGED, NO_DIRECTIONS, PLACELESS, Refusal, ending_of_results, is_utf8

GZIP = b"\x1f\x8b"

_CHUNK = 1 << 20
_ZLIB_OR_GZIP = 47  # zlib's `wbits`
_META, _NRRD = "MetaImageIO", "NrrdImageIO"
_FORMATS = {".mha": _META, ".nrrd": _NRRD}
_META_END = re.compile(r"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*[^\s][^\r\n]*(?:\r?\n|\Z)", re.MULTILINE)
_META_FIELD = re.compile(r"^[ \t]*(\w+)[ \t]*[=:][ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_NRRD_END = re.compile(r"\r?\n\r?\n")
_NRRD_FIELD = re.compile(r"^([^:#\r\n]+?)\s*:\s(.*?)\s*$", re.MULTILINE)
_NRRD_SPACE = re.compile(r"lps|ras|las|(left-posterior|right-anterior|left-anterior)-superior")
_NRRD_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}


class Header(NamedTuple):
    """What the header of a MetaImage or NRRD file states."""

    fields: dict[str, str]  # those of NRRD in lower case
    data: Path | None  # file with the voxels; None if they are in several files
    offset: int  # of the voxels in that file, in bytes
    encoding: str  # "raw", "gzip" (or zlib), or "" for others, whose voxels ITK counts itself

    def stored(self, data: Path) -> bytes:
        """The voxels as they are in the file."""
        if not data.is_file():
            raise Refusal(f"its data file {data.name} is missing: put it next to the header")
        return data.read_bytes()[self.offset :]


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
            raise Refusal(f"has no TransformMatrix, {PLACELESS}")
        if header.encoding == "gzip" and header.data is not None:
            return _read_compressed_meta(fields, inflate(header.stored(header.data))[0])
    elif _format(path) == _NRRD:
        # ITK takes time for a direction, an unknown space for LPS, and makes up missing directions.
        fields = read_header(path).fields
        kinds = re.findall(r"\b(?:domain|space|time)\b", fields.get("kinds", "").lower())
        check_kind(max(len(kinds), 3))
        directions, dimension = fields.get("space directions", "none").lower(), fields.get("dimension")
        known = _NRRD_SPACE.fullmatch(fields.get("space", "").lower())
        if placed and dimension != "2" and (not known or ("none" in directions and dimension == "3")):
            raise Refusal(f"has no anatomical space or no space directions, {PLACELESS}")
    check_bytes(path)
    return read_image(path)


def _read_compressed_meta(fields: dict[str, str], voxels: bytes) -> sitk.Image:
    """Let ITK read inflated voxels: MetaIO believes CompressedDataSize, and returns noise if it is wrong."""
    replaced = ("CompressedData", "CompressedDataSize", "HeaderSize", "ElementDataFile")
    lines = [f"{name} = {value}\n" for name, value in fields.items() if name not in replaced]
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        plain = Path(folder) / "image.mha"
        plain.write_bytes("".join([*lines, "ElementDataFile = LOCAL\n"]).encode("latin-1") + voxels)
        check_bytes(plain)
        return read_image(plain)


def read_image(path: Path, image_io: str = "") -> sitk.Image:
    """Read a file as ITK does, whatever the case of its ending; `image_io` is ITK's name of its format."""
    reader = open_image(path, image_io)
    try:
        return reader.Execute()
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
    voxels = header.stored(header.data)
    if header.encoding == "gzip":
        if _format(path) == _META:  # it takes as many bytes as its header states, and none by default
            stated = header.fields.get("CompressedDataSize", "0" if header.data == path else "")
            voxels = voxels[: int(stated) if stated.isdecimal() else None]
        voxels = inflate(voxels)[0]
    if header.encoding:
        reader = open_image(path)
        announced = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID()).GetSizeOfPixelComponent()
        if len(voxels) < announced * prod((reader.GetNumberOfComponents(), *reader.GetSize())):
            raise Refusal(DAMAGED)


def read_header(path: Path) -> Header:
    """Read the header of a MetaImage or NRRD file."""
    is_nrrd = _format(path) == _NRRD
    with path.open("rb") as stream:
        start = stream.read(1 << 16).decode("latin-1")
    end = (_NRRD_END if is_nrrd else _META_END).search(start)
    text = start[: end.end()] if end else ""
    if is_nrrd:  # a header in a file of its own need not end with an empty line
        fields = {key.lower(): value for key, value in _NRRD_FIELD.findall(text or start)}
        where = fields.get("data file", fields.get("datafile", "local" if end else ""))
        skips = (fields.get(name, "0") for name in ("line skip", "lineskip", "byte skip", "byteskip"))
        encoding = _NRRD_ENCODINGS.get(fields.get("encoding", "").lower(), "")
        encoding = encoding if all(skip == "0" for skip in skips) else ""
    else:
        fields = dict(_META_FIELD.findall(text))
        where = fields.get("ElementDataFile", "")
        encoding = "gzip" if fields.get("CompressedData", "").lower() in ("true", "1", "t") else "raw"
        encoding = "" if fields.get("BinaryData", "").lower() in ("false", "0", "f") else encoding
    if not where or (is_nrrd and not start.startswith("NRRD")):
        raise Refusal(f"is not {'an NRRD' if is_nrrd else 'a MetaImage'} file, or {DAMAGED}")
    if where.upper() == "LOCAL":
        return Header(fields, path, len(text), encoding)
    size = fields.get("HeaderSize", "0")
    if not size.removeprefix("-").isdecimal():
        raise Refusal("the HeaderSize in its header is not a number: correct the header")
    several = where.upper().startswith("LIST") or "%" in where
    name = where.encode("latin-1").decode("utf-8", "surrogateescape")
    return Header(fields, None if several else path.parent / name, max(int(size), 0), encoding)


def inflate(packed: bytes) -> tuple[bytes, bool]:
    """Inflate and check a zlib stream or gzip members; return also whether more than zeros follow them."""
    stream, plain = io.BytesIO(packed), []
    inflater, block = zlib.decompressobj(_ZLIB_OR_GZIP), stream.read(_CHUNK)
    try:
        while block:
            plain.append(inflater.decompress(block))
            block = inflater.unused_data
            if len(block) < len(GZIP):
                block += stream.read(_CHUNK)
            if inflater.eof:
                if not block.startswith(GZIP):
                    return b"".join(plain), bool(block.strip(b"\0"))
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
