"""What is a DICOM image, and what its header says of the place of its slice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .itk import is_utf8, name_for_itk

DICOM_IO = "GDCMImageIO"

MR_IMAGES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""MR image storage: classic, enhanced, and legacy converted enhanced (DICOM PS3.6, annex A)."""

# Kinds of objects that are no scan (DICOM PS3.6, annex A), each with all that begins so.
_NO_SCANS = (
    "1.2.840.10008.1.3.10",  # DICOMDIR
    "1.2.840.10008.5.1.4.1.1.4.2",  # MR spectroscopy
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, segmentations
    "1.2.840.10008.5.1.4.1.1.67",  # real world value mappings
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports, key objects
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.481.",  # radiotherapy
    "1.2.840.10008.5.1.4.38.",  # hanging protocols
)

_PREAMBLE = 128
_META = 1024  # the file meta information, all of which we want, lies within as many bytes
_MEDIA_CLASS = re.compile(rb"\x02\x00\x02\x00UI(..)", re.DOTALL)
_BARE_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")


@dataclass(frozen=True)
class DicomImage:
    """One file of a series: a slice, or all frames of an enhanced image.

    Attributes:
        path: the file that was read.
        name: the file as the user knows it.
        series: SeriesInstanceUID.
        study: StudyInstanceUID.
        number, description, modality: of the series, as written, without spaces around.
        size: (columns, rows).
        frames: how many the file holds.
        values: a pixel, 1 but for colour.
        kind: ITK's number of the type of its values, rescaled.
        orientation: LPS directions of a row and of a column, one after the other; None where none is given.
        position: of the first voxel, LPS in mm; None where none is given.
        spacing: mm between columns and between rows.
        echo: echo time in ms or echo number, as written; empty where none is given.
    """

    path: Path
    name: str
    series: str
    study: str
    number: str
    description: str
    modality: str
    size: tuple[int, int]
    frames: int
    values: int
    kind: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, float]
    echo: str

    @property
    def normal(self) -> np.ndarray:
        """LPS unit vector that rows and columns are at right angles to, (3,)."""
        assert self.orientation is not None
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / np.linalg.norm(normal)


def is_dicom(start: bytes) -> bool:
    """Whether a file that starts with these bytes (132 or more) says that it is DICOM and may hold a scan."""
    return start[_PREAMBLE : _PREAMBLE + 4] == b"DICM" and not media_class(start).startswith(_NO_SCANS)


def media_class(start: bytes) -> str:
    """MediaStorageSOPClassUID in the first bytes of a file; empty where it says none."""
    found = _MEDIA_CLASS.search(start, _PREAMBLE)
    if found is None:
        return ""
    length = int.from_bytes(found[1], "little")
    return start[found.end() : found.end() + length].decode("ascii", "replace").strip("\0 ")


def start_of(path: Path) -> bytes:
    """As much of a file as `is_dicom` and `media_class` want to see; nothing of one that cannot be opened."""
    try:
        with path.open("rb") as stream:
            return stream.read(_META)
    except OSError:
        return b""


def holds_dicom(path: Path) -> bool:
    """Whether a file may be a DICOM image; those that do not say so are shown to GDCM."""
    start = start_of(path)
    return is_dicom(start) or (is_bare(start) and is_utf8(path) and read_header(path, path.name) is not None)


def is_bare(start: bytes) -> bool:
    """Whether a file may be DICOM without the preamble, which scanners of the nineties left out."""
    return start[_PREAMBLE : _PREAMBLE + 4] != b"DICM" and start[:2] in _BARE_STARTS


def read_header(path: Path, name: str) -> DicomImage | None:
    """The header of a DICOM image; None where GDCM finds none, or one that ends too early.

    Raises:
        Refusal: the name of the file is no UTF-8.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(DICOM_IO)
    reader.SetFileName(name_for_itk(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    frames = int(_numbers(reader, "0028|0008")[0]) if _numbers(reader, "0028|0008") else 1
    rows_apart, columns_apart = _exactly(2, _numbers(reader, "0028|0030")) or reader.GetSpacing()[1::-1]
    size = reader.GetSize()
    return DicomImage(
        path=path,
        name=name,
        series=_text(reader, "0020|000e"),
        study=_text(reader, "0020|000d"),
        number=_text(reader, "0020|0011"),
        description=_text(reader, "0008|103e"),
        modality=_text(reader, "0008|0060"),
        size=(size[0], size[1]),
        frames=frames,
        values=reader.GetNumberOfComponents(),
        kind=reader.GetPixelID(),
        orientation=_orientation(reader, frames),
        position=_exactly(3, _numbers(reader, "0020|0032")),
        spacing=(columns_apart, rows_apart),
        echo=_text(reader, "0018|0081") or _text(reader, "0018|0086"),
    )


def _orientation(reader: sitk.ImageFileReader, frames: int) -> tuple[float, ...] | None:
    found = _exactly(6, _numbers(reader, "0020|0037"))
    if frames > 1:
        # Enhanced images have it in sequences that ITK does not hand out; it has made a direction of them.
        cosines = np.reshape(reader.GetDirection(), (3, 3))
        found = _exactly(6, (*cosines[:, 0].tolist(), *cosines[:, 1].tolist()))
    if found is None or np.linalg.norm(np.cross(found[:3], found[3:])) < 0.5:
        return None
    return found


def _exactly(count: int, numbers: tuple[float, ...]) -> tuple[float, ...] | None:
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _numbers(reader: sitk.ImageFileReader, tag: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, _text(reader, tag).split("\\")))
    except ValueError:
        return ()


def _text(reader: sitk.ImageFileReader, tag: str) -> str:
    if not reader.HasMetaDataKey(tag):
        return ""
    # Bytes that are no UTF-8 come as lone surrogates: most such files are Latin-1.
    raw = reader.GetMetaData(tag).encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return " ".join(text.replace("\0", " ").split())
