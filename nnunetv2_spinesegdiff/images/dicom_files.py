"""What is a DICOM image, and what its header says of its slices, as pydicom reads it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .itk import is_utf8

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

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
class DicomSlice:
    """A slice of a series: a classic image, or one frame of an enhanced one.

    Attributes:
        path: the file that was read.
        file: the file as the user knows it.
        frame, frames: its place in the file, from 0, and how many the file holds.
        size: (columns, rows).
        values: per pixel, 1 but for color.
        orientation: LPS unit vectors of a row and of a column, one after the other; None if not given.
        position: of the first voxel, LPS in mm; None if not given.
        spacing: mm between columns and between rows, of the patient; None if not given.
        thickness: mm; None if not given.
        echo: echo time in ms; None if not given.
        kind: ImageType or FrameType without its first two values.
        rescale, first_rescale: slope and intercept that the header gives for this slice, and for the first
            one of its file.
        padding: lowest and highest stored value that mean "no image here"; None if not given.
    """

    path: Path
    file: str
    frame: int
    frames: int
    size: tuple[int, int]
    values: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    echo: float | None
    kind: tuple[str, ...]
    rescale: tuple[float, float]
    first_rescale: tuple[float, float]
    padding: tuple[float, float] | None

    @property
    def name(self) -> str:
        """The slice in messages."""
        return self.file if self.frames == 1 else f"{self.file}, frame {self.frame + 1}"

    @property
    def normal(self) -> np.ndarray:
        """LPS unit vector at right angles to rows and columns, (3,)."""
        assert self.orientation is not None
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / np.linalg.norm(normal)


@dataclass(frozen=True)
class DicomImage:
    """One file of a series.

    Attributes:
        path: the file that was read.
        name: the file as the user knows it.
        series, study: SeriesInstanceUID, StudyInstanceUID.
        number, description, modality: of the series, without spaces around.
        slices: one, or the frames of an enhanced image in the file's order.
    """

    path: Path
    name: str
    series: str
    study: str
    number: str
    description: str
    modality: str
    slices: tuple[DicomSlice, ...]


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
    """The header of a DICOM image; None if it is none, or ends too early."""
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard
        try:
            header = dcmread(path, stop_before_pixels=True, force=True)
            if not (_whole(header, "Rows") and _whole(header, "Columns") and "SOPClassUID" in header):
                return None
            return DicomImage(
                path=path,
                name=name,
                series=_text(header, "SeriesInstanceUID"),
                study=_text(header, "StudyInstanceUID"),
                number=_text(header, "SeriesNumber"),
                description=_text(header, "SeriesDescription"),
                modality=_text(header, "Modality"),
                slices=tuple(_slices(header, path, name)),
            )
        except Exception:  # pydicom has many for damaged files
            return None


def _slices(header: Dataset, path: Path, name: str) -> Iterator[DicomSlice]:
    frames = _whole(header, "NumberOfFrames") or 1
    shared = _first(header, "SharedFunctionalGroupsSequence")
    of_frames = header.get("PerFrameFunctionalGroupsSequence") or []
    first_rescale: tuple[float, float] | None = None
    for k in range(frames):
        # What holds for a frame is said in its own item, else in the shared one, else in the image.
        items = [one for one in (of_frames[k] if k < len(of_frames) else None, shared) if one is not None]

        def find(group: str, keyword: str, items: Sequence[Dataset] = items) -> Any:
            inner = (item for one in items if (item := _first(one, group)) is not None)
            values = (value for one in (*inner, header) if (value := one.get(keyword)) is not None)
            return next(values, None)

        spacing = _numbers(find("PixelMeasuresSequence", "PixelSpacing"), 2)
        echo = _number(find("MREchoSequence", "EffectiveEchoTime"))
        kind = find("MRImageFrameTypeSequence", "FrameType") or header.get("ImageType")
        slope = _number(find("PixelValueTransformationSequence", "RescaleSlope"))
        intercept = _number(find("PixelValueTransformationSequence", "RescaleIntercept"))
        rescale = slope or 1.0, intercept or 0.0
        first_rescale = first_rescale or rescale
        yield DicomSlice(
            path=path,
            file=name,
            frame=k,
            frames=frames,
            size=(_whole(header, "Columns"), _whole(header, "Rows")),
            values=_whole(header, "SamplesPerPixel") or 1,
            orientation=_directions(find("PlaneOrientationSequence", "ImageOrientationPatient")),
            position=_numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3),
            spacing=(spacing[1], spacing[0]) if spacing and min(spacing) > 0 else None,
            thickness=_number(find("PixelMeasuresSequence", "SliceThickness")),
            echo=_number(header.get("EchoTime")) if echo is None else echo,
            kind=() if kind is None or isinstance(kind, str) else tuple(map(str, kind[2:])),
            rescale=rescale,
            first_rescale=first_rescale,
            padding=_padding(header),
        )


def _first(dataset: Dataset, sequence: str) -> Dataset | None:
    items = dataset.get(sequence)
    return items[0] if items else None


def _directions(value: Any) -> tuple[float, ...] | None:
    found = _numbers(value, 6)
    if found is None:
        return None
    rows, columns = np.array(found[:3]), np.array(found[3:])
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if min(lengths) < 0.5 or np.linalg.norm(np.cross(rows / lengths[0], columns / lengths[1])) < 0.5:
        return None
    return (*(rows / lengths[0]).tolist(), *(columns / lengths[1]).tolist())


def _padding(header: Dataset) -> tuple[float, float] | None:
    value, limit = (_number(header.get(name)) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return None
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(map(float, value))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _number(value: Any) -> float | None:
    found = _numbers([value], 1)
    return found[0] if found else None


def _whole(header: Dataset, keyword: str) -> int:
    return int(_number(header.get(keyword)) or 0)


def _text(header: Dataset, keyword: str) -> str:
    return " ".join(str(header.get(keyword) or "").replace("\0", " ").split())
