"""Slices of DICOM images, as pydicom reads their headers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.uid import UID

_WITHOUT_PREAMBLE = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # first bytes of files of the nineties
_OF_SERIES = ("SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "SeriesDescription", "Modality")


@dataclass(frozen=True)
class DicomSlice:
    """A slice of a series: a classic image, or one frame of an enhanced one. What is not given is None."""

    uid: str  # of the series, as the next four, without spaces around
    study: str
    number: str
    description: str
    modality: str
    path: Path  # of the file that was read
    file: str  # its name as the user knows it
    frame: int | None  # index in an enhanced file; None for a classic image
    size: tuple[int, int]  # columns, rows
    values_per_pixel: int  # 1 except for color
    orientation: tuple[float, ...] | None  # LPS unit vectors of a row and of a column
    position: tuple[float, ...] | None  # of the first voxel, LPS in mm
    spacing: tuple[float, float] | None  # mm between columns and between rows, in the patient
    thickness: float | None  # mm
    echo: float | None  # echo time in ms
    kind: str  # the words of ImageType or FrameType after its first two values
    rescale: tuple[float, float]  # slope and intercept
    rescale_of_file: tuple[float, float]  # those of the first slice in its file
    padding: tuple[float, float] | None  # lowest and highest rescaled value that mean "no image here"

    @property
    def name(self) -> str:
        """The slice in messages."""
        return self.file if self.frame is None else f"{self.file}, frame {self.frame + 1}"

    @property
    def cosines(self) -> np.ndarray:
        """LPS unit vectors of a row, of a column and of the normal, one per column, (3, 3)."""
        rows, columns = np.reshape(np.asarray(self.orientation, float), (2, 3))
        normal = np.cross(rows, columns)
        return np.stack([rows, columns, normal / np.linalg.norm(normal)], axis=1)


def image_class(stream: BinaryIO) -> str | None:
    """Return the kind of a DICOM image by its first bytes, such as "Enhanced MR Image Storage".

    Returns:
        The name of its SOP class, or "unknown"; empty if there is no preamble, None if it is not an image.
    """
    stream.seek(0)
    start = stream.read(132)
    stream.seek(0)
    if start[128:] != b"DICM":
        return "" if start[:2] in _WITHOUT_PREAMBLE else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that violate the standard
        try:
            meta = read_partial(stream, stop_when=lambda *_: True).file_meta
            name = UID(meta.get("MediaStorageSOPClassUID", "unknown"), validation_mode=IGNORE).name
        except Exception:  # pydicom raises many for damaged files
            return "unknown"
    return name if "Image" in name or not name.endswith("Storage") else None  # "Basic Text SR Storage"


def study_of(path: Path) -> str | None:
    """Return the StudyInstanceUID of a DICOM image, "" if its header is damaged; None for other files."""
    with suppress(OSError), path.open("rb") as stream:
        slices = read_slices(stream, path, path.name)
        return slices[0].study if slices else "" if image_class(stream) else None
    return None


def read_slices(stream: BinaryIO, path: Path, name: str) -> list[DicomSlice]:
    """Read the header of a DICOM image, a file or an entry of a zip; no slices if it is none or cut."""
    if image_class(stream) is None:
        return []
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that violate the standard
        try:
            header = dcmread(stream, stop_before_pixels=True, force=True)
            return list(_slices(header, path, name))
        except Exception:  # pydicom raises many for damaged files
            return []


def _slices(header: Dataset, path: Path, name: str) -> Iterator[DicomSlice]:
    rows, columns = (int(_number(header.get(keyword)) or 0) for keyword in ("Rows", "Columns"))
    if not (rows and columns and "SOPClassUID" in header):
        return
    texts = (str(header.get(keyword) or "").replace("\0", " ") for keyword in _OF_SERIES)
    uid, study, number, description, modality = (" ".join(text.split()) for text in texts)
    frames = int(_number(header.get("NumberOfFrames")) or 1)
    padding, limit = (_number(header.get(f"PixelPadding{part}")) for part in ("Value", "RangeLimit"))
    first: tuple[float, float] | None = None
    for k in range(frames):
        find = partial(_find, header, k)
        spacing = _numbers(find("PixelMeasuresSequence", "PixelSpacing"), 2)
        kind = find("MRImageFrameTypeSequence", "FrameType") or header.get("ImageType")
        slope = _number(find("PixelValueTransformationSequence", "RescaleSlope")) or 1.0
        intercept = _number(find("PixelValueTransformationSequence", "RescaleIntercept")) or 0.0
        first = first or (slope, intercept)
        limits = sorted(x * slope + intercept for x in (padding, limit) if x is not None)
        yield DicomSlice(
            *(uid, study, number, description, modality),
            path=path,
            file=name,
            frame=k if frames > 1 or "PerFrameFunctionalGroupsSequence" in header else None,
            size=(columns, rows),
            values_per_pixel=int(_number(header.get("SamplesPerPixel")) or 1),
            orientation=_directions(find("PlaneOrientationSequence", "ImageOrientationPatient")),
            position=_numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3),
            spacing=(spacing[1], spacing[0]) if spacing and min(spacing) > 0 else None,
            thickness=_number(find("PixelMeasuresSequence", "SliceThickness")),
            echo=_number(find("MREchoSequence", "EffectiveEchoTime") or header.get("EchoTime")),
            kind="" if kind is None or isinstance(kind, str) else " ".join(map(str, kind[2:])),
            rescale=(slope, intercept),
            rescale_of_file=first,
            padding=None if padding is None else (limits[0], limits[-1]),
        )


def _find(header: Dataset, frame: int, group: str, keyword: str) -> Any:
    """An attribute from the frame's own functional group, else from the shared one, else from the image."""
    own = (header.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    shared = (header.get("SharedFunctionalGroupsSequence") or [])[:1]
    items = [item for groups in (*own, *shared) for item in (groups.get(group) or [])[:1]]
    values = (item.get(keyword) for item in (*items, header))
    return next((value for value in values if value is not None), None)


def _directions(value: object) -> tuple[float, ...] | None:
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


def _number(value: object) -> float | None:
    return (_numbers([value], 1) or [None])[0]
