"""Readers that share no code with the package or ITK: nibabel, pydicom, and two parsers of plain headers.

Array axes are the file's own, (i, j, k) with i fastest. Positions are LPS in mm.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

_METAIMAGE_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2"},
    **{"MET_INT": "i4", "MET_UINT": "u4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_NRRD_TYPES = {
    **{"signed char": "i1", "int8": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1"},
    **{"short": "i2", "int16": "i2", "ushort": "u2", "unsigned short": "u2", "uint16": "u2"},
    **{"int": "i4", "unsigned int": "u4", "float": "f4", "double": "f8"},
}
_SIGNS_OF_SPACE = {
    "left-posterior-superior": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
}
_GZIP_OR_ZLIB = 47


@dataclass(frozen=True)
class Volume:
    """What a file holds."""

    values: np.ndarray  # (i, j, k)
    step_i: np.ndarray  # (3,), from a voxel to the next one along the first axis
    step_j: np.ndarray
    firsts: np.ndarray  # (number of k, 3), positions of the voxels (0, 0, k)
    spacing: np.ndarray  # (3,), voxel sizes in mm; NaN where the file does not state it

    def position(self, index: np.ndarray) -> np.ndarray:
        """Positions (n, 3) of voxels (n, 3)."""
        i, j, k = np.asarray(index).T
        return self.firsts[k] + i[:, None] * self.step_i + j[:, None] * self.step_j

    @property
    def corners(self) -> np.ndarray:
        """Indices (8, 3) of the corner voxels."""
        return np.array(list(product(*[(0, size - 1) for size in self.values.shape])))


def read_with_nibabel(path: Path) -> Volume:
    """Read NIfTI."""
    loaded: Any = nib.load(path)
    to_lps = np.diag([-1.0, -1, 1, 1]) @ loaded.affine
    return _of_steps(np.asarray(loaded.dataobj), to_lps[:3, 3], to_lps[:3, :3].T)


def read_metaimage_by_hand(path: Path) -> Volume:
    """Read a MetaImage; the rows of TransformMatrix are the directions of the axes."""
    fields, data = _header(path, b"ElementDataFile = LOCAL\n", r"^(\w+) = (.*?)\s*$", "ElementDataFile")
    assert fields["NDims"] == "3"
    steps = np.reshape(_numbers(fields["TransformMatrix"]), (3, 3))
    steps = steps * _numbers(fields["ElementSpacing"])[:, None]
    order = ">" if fields["BinaryDataByteOrderMSB"] == "True" else "<"
    kind = order + _METAIMAGE_TYPES[fields["ElementType"]]
    values = _array(data, fields["CompressedData"] == "True", kind, fields["DimSize"])
    return _of_steps(values, _numbers(fields["Offset"]), steps)


def read_nrrd_by_hand(path: Path) -> Volume:
    """Read an NRRD."""
    fields, data = _header(path, b"\n\n", r"^([^:#\n]+): (.*?)\s*$", "data file")
    assert fields["dimension"] == "3"
    signs = np.array(_SIGNS_OF_SPACE[fields["space"]])
    steps = np.array([_numbers(one) for one in re.findall(r"\(([^)]*)\)", fields["space directions"])])
    origin = _numbers(fields["space origin"].strip("()"))
    kind = (">" if fields.get("endian") == "big" else "<") + _NRRD_TYPES[fields["type"]]
    values = _array(data, fields["encoding"] == "gzip", kind, fields["sizes"])
    return _of_steps(values, signs * origin, signs * steps)


def read_with_pydicom(
    files: Iterable[Path], wanted: Callable[[Dataset], bool] = lambda frame: True
) -> Volume:
    """Read the slices or frames of a series, sorted along their normal.

    Args:
        wanted: asked of the item of every frame of an enhanced image.
    """
    slices = [one for file in files for one in _slices(dcmread(file), wanted)]
    orientation, spacing = slices[0][1], slices[0][2]
    normal = np.cross(orientation[:3], orientation[3:])
    slices.sort(key=lambda one: float(one[0] @ normal))
    assert all(np.array_equal(one[1], orientation) for one in slices)
    firsts = np.array([position for position, *_ in slices])
    apart = np.linalg.norm(firsts[-1] - firsts[0]) / (len(firsts) - 1) if len(firsts) > 1 else np.nan
    return Volume(
        np.stack([pixels.T for *_, pixels in slices], axis=2),
        spacing[1] * orientation[:3],
        spacing[0] * orientation[3:],
        firsts,
        np.array([spacing[1], spacing[0], apart]),
    )


def _slices(image: Dataset, wanted: Callable[[Dataset], bool]) -> list[tuple[np.ndarray, ...]]:
    """Position, orientation, PixelSpacing and values (rows, columns) of the slices of a file."""
    if "NumberOfFrames" not in image:
        pixels = image.pixel_array * float(image.get("RescaleSlope", 1))
        return [
            (
                np.array(image.ImagePositionPatient, float),
                np.array(image.ImageOrientationPatient, float),
                np.array(image.PixelSpacing, float),
                pixels + float(image.get("RescaleIntercept", 0)),
            )
        ]
    shared = image.SharedFunctionalGroupsSequence[0]
    found: list[tuple[np.ndarray, ...]] = []
    for frame, stored in zip(image.PerFrameFunctionalGroupsSequence, image.pixel_array, strict=True):
        if not wanted(frame):
            continue
        pixels = np.asarray(stored)
        if "PixelValueTransformationSequence" in frame:
            (scale,) = frame.PixelValueTransformationSequence
            pixels = pixels * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
        measures = (frame if "PixelMeasuresSequence" in frame else shared).PixelMeasuresSequence[0]
        plane = (frame if "PlaneOrientationSequence" in frame else shared).PlaneOrientationSequence[0]
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        orientation = np.array(plane.ImageOrientationPatient, float)
        found.append((position, orientation, np.array(measures.PixelSpacing, float), pixels))
    return found


def _of_steps(values: np.ndarray, origin: np.ndarray, steps: np.ndarray) -> Volume:
    firsts = origin + np.arange(values.shape[2])[:, None] * steps[2]
    return Volume(values, steps[0], steps[1], firsts, np.linalg.norm(steps, axis=1))


def _header(path: Path, end: bytes, field: str, elsewhere: str) -> tuple[dict[str, str], bytes]:
    """Fields of a plain header, and the data after it or in the file that the field `elsewhere` names."""
    head, _, data = path.read_bytes().partition(end)
    fields = dict(re.findall(field, head.decode("latin-1"), re.MULTILINE))
    return fields, (path.parent / fields[elsewhere]).read_bytes() if elsewhere in fields else data


def _array(data: bytes, packed: bool, kind: str, sizes: str) -> np.ndarray:
    voxels = zlib.decompress(data, _GZIP_OR_ZLIB) if packed else data
    return np.frombuffer(voxels, kind).reshape([int(size) for size in sizes.split()], order="F")


def _numbers(text: str) -> np.ndarray:
    return np.array([float(number) for number in text.replace(",", " ").split()])
