"""Where the frames of an enhanced image lie.

ITK hands out no sequences, and of frames that are no even stack GDCM makes voxels of 1 mm without a word. So
their places are looked up in the header's bytes, where they stand in the order of the frames (DICOM PS3.3,
C.7.6.16).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

_PIXELS = b"\xe0\x7f\x10\x00"
# ImagePositionPatient with a value representation, or (implicit) without one.
_POSITION = re.compile(rb"\x20\x00\x32\x00(?:DS(..)|(..)\x00\x00)", re.DOTALL)


def frame_positions(content: bytes) -> np.ndarray:
    """LPS positions in mm, shape (n, 3), of all frames whose place is told, in the file's own order.

    Args:
        content: of a little-endian DICOM file.
    """
    header = content.partition(_PIXELS)[0]
    found = []
    for match in _POSITION.finditer(header):
        length = int.from_bytes(match[1] or match[2], "little")
        value = header[match.end() : match.end() + length].decode("ascii", "replace").strip("\0 ")
        found.append(_position(value))
    return np.array([position for position in found if position is not None]).reshape(-1, 3)


def positions_in(path: Path) -> np.ndarray:
    """`frame_positions` of a file."""
    return frame_positions(path.read_bytes())


def _position(value: str) -> list[float] | None:
    try:
        numbers = [float(number) for number in value.split("\\")]
    except ValueError:
        return None
    return numbers if len(numbers) == 3 and np.isfinite(numbers).all() else None
