"""Slices of DICOM images, as pydicom reads their headers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MR_IMAGES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""MR image storage: classic, enhanced, and legacy converted enhanced (DICOM PS3.6, annex A)."""
START = 1024
"""Bytes at the beginning of a file that include its file meta information."""

_MEDIA_CLASS = re.compile(rb"\x02\x00\x02\x00UI(..)", re.DOTALL)


@dataclass(frozen=True)
class DicomSeries:
    """Attributes of a series, without spaces around: SeriesInstanceUID, StudyInstanceUID and others."""

    uid: str
    study: str
    number: str
    description: str
    modality: str


@dataclass(frozen=True)
class DicomSlice:
    """A slice of a series: a classic image, or one frame of an enhanced one.

    Attributes:
        series: that it belongs to.
        path: the file that was read.
        file: the file as the user knows it.
        frame, frames: its index in the file, and the number of frames in the file.
        size: (columns, rows).
        values: per pixel, 1 except for color.
        orientation: LPS unit vectors of a row and of a column, one after the other; None if not given.
        position: of the first voxel, LPS in mm; None if not given.
        spacing: mm between columns and between rows, in the patient; None if not given.
        thickness: mm; None if not given.
        echo: echo time in ms; None if not given.
        kind: ImageType or FrameType without its first two values.
        rescale: factor and summand for values that were rescaled as those of the first slice of the file.
        first_rescale: slope and intercept of that slice.
        padding: lowest and highest value, after rescaling, that mean "no image here"; None if not given.
    """

    series: DicomSeries
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
    def cosines(self) -> np.ndarray:
        """LPS unit vectors of a row, of a column and of the normal, one per column, (3, 3)."""
        rows, columns = np.reshape(np.asarray(self.orientation, float), (2, 3))
        normal = np.cross(rows, columns)
        return np.stack([rows, columns, normal / np.linalg.norm(normal)], axis=1)


def start_of(path: Path) -> bytes:
    """Return the first bytes of a file; none if it cannot be opened."""
    try:
        with path.open("rb") as stream:
            return stream.read(START)
    except OSError:
        return b""


def has_preamble(start: bytes) -> bool:
    """Whether a file that begins so states that it is DICOM."""
    return start[128:132] == b"DICM"


def may_be_image(start: bytes) -> bool:
    """Whether a file that begins so may be an image; scanners of the nineties wrote no preamble."""
    if not has_preamble(start):
        return start[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08")
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    # Names such as "Enhanced MR Image Storage" and "Basic Text SR Storage".
    kind = UID(media_class(start), validation_mode=IGNORE).name
    return "Image" in kind or not kind.endswith("Storage")


def media_class(start: bytes) -> str:
    """Return MediaStorageSOPClassUID from the first bytes of a file; empty if it is not there."""
    found = _MEDIA_CLASS.search(start, 128)
    if found is None:
        return ""
    length = int.from_bytes(found[1], "little")
    return start[found.end() : found.end() + length].decode("ascii", "replace").strip("\0 ")


def holds_dicom(path: Path) -> bool:
    """Whether a file is a DICOM image; without a preamble, only if its header can be read."""
    start = start_of(path)
    return may_be_image(start) and (has_preamble(start) or bool(read_slices(path, path.name)))


def read_slices(path: Path, name: str) -> list[DicomSlice]:
    """Read the header of a DICOM image; no slices if it is not one, or is too short.

    Args:
        name: the file as the user knows it.
    """
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that violate the standard
        try:
            header = dcmread(path, stop_before_pixels=True, force=True)
            if not (_integer(header, "Rows") and _integer(header, "Columns") and "SOPClassUID" in header):
                return []
            return list(_slices(header, path, name))
        except Exception:  # pydicom raises many for damaged files
            return []


def _slices(header: Dataset, path: Path, name: str) -> Iterator[DicomSlice]:
    series = DicomSeries(
        uid=_text(header, "SeriesInstanceUID"),
        study=_text(header, "StudyInstanceUID"),
        number=_text(header, "SeriesNumber"),
        description=_text(header, "SeriesDescription"),
        modality=_text(header, "Modality"),
    )
    frames = _integer(header, "NumberOfFrames") or 1
    shared = header.get("SharedFunctionalGroupsSequence") or []
    of_frames = header.get("PerFrameFunctionalGroupsSequence") or []
    padding, limit = (_number(header.get(f"PixelPadding{part}")) for part in ("Value", "RangeLimit"))
    first: tuple[float, float] | None = None
    for k in range(frames):

        def find(group: str, keyword: str, k: int = k) -> Any:
            """From the frame's own item, else the shared one, else the image."""
            items = (item for one in (of_frames[k : k + 1], shared) for item in one[:1])
            inner = [item for one in items for item in (one.get(group) or [])[:1]]
            values = (one.get(keyword) for one in (*inner, header))
            return next((value for value in values if value is not None), None)

        spacing = _numbers(find("PixelMeasuresSequence", "PixelSpacing"), 2)
        kind = find("MRImageFrameTypeSequence", "FrameType") or header.get("ImageType")
        slope = _number(find("PixelValueTransformationSequence", "RescaleSlope")) or 1.0
        intercept = _number(find("PixelValueTransformationSequence", "RescaleIntercept")) or 0.0
        first = first or (slope, intercept)
        limits = sorted(x * slope + intercept for x in (padding, limit) if x is not None)
        yield DicomSlice(
            series=series,
            path=path,
            file=name,
            frame=k,
            frames=frames,
            size=(_integer(header, "Columns"), _integer(header, "Rows")),
            values=_integer(header, "SamplesPerPixel") or 1,
            orientation=_directions(find("PlaneOrientationSequence", "ImageOrientationPatient")),
            position=_numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3),
            spacing=(spacing[1], spacing[0]) if spacing and min(spacing) > 0 else None,
            thickness=_number(find("PixelMeasuresSequence", "SliceThickness")),
            echo=_number(find("MREchoSequence", "EffectiveEchoTime") or header.get("EchoTime")),
            kind=() if kind is None or isinstance(kind, str) else tuple(map(str, kind[2:])),
            rescale=(slope / first[0], intercept - first[1] * slope / first[0]),
            first_rescale=first,
            padding=None if padding is None else (limits[0], limits[-1]),
        )


def _directions(value: Any) -> tuple[float, ...] | None:
    """Unit vectors of a row and of a column, if they are directions and not parallel."""
    found = np.reshape(_numbers(value, 6) or np.zeros(6), (2, 3))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if lengths.min() < 0.5 or np.linalg.norm(np.cross(*(found / lengths))) < 0.5:
        return None
    return tuple((found / lengths).ravel().tolist())


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(map(float, value))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _number(value: Any) -> float | None:
    found = _numbers([value], 1)
    return found[0] if found else None


def _integer(header: Dataset, keyword: str) -> int:
    return int(_number(header.get(keyword)) or 0)


def _text(header: Dataset, keyword: str) -> str:
    return " ".join(str(header.get(keyword) or "").replace("\0", " ").split())
