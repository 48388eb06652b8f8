"""The uncertainty of a part, and the agreement of the two stages on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .shapes import Shape

NEIGHBOURHOOD_MM = 10.0


def mean_inside(values: np.ndarray | None, inside: np.ndarray) -> float | None:
    """Compute the mean of a map (H, W) inside a mask; None without a map or for an empty mask."""
    if values is None or not inside.any():
        return None
    return float(values[inside].mean(dtype=np.float64))


def dice(a: np.ndarray, b: np.ndarray) -> float | None:
    """Compute the Dice of two bool masks, 0 to 1; None if both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else None


def neighbourhoods(structure: np.ndarray, parts: Sequence[Shape]) -> list[np.ndarray]:
    """Find the region around each part in which another mask is compared with it.

    The region holds all pixels within 10 mm of the part that are not closer to other parts of the structure.
    A neighboring disc or a spinous process in the other mask is therefore not counted as an error.

    Args:
        structure: (H, W) bool, the whole structure.
        parts: some of its parts.
    """
    if not parts:
        return []
    owner = np.where(structure, len(parts) + 1, 0)
    for number, part in enumerate(parts, start=1):
        owner[part.inside] = number
    distance, nearest = ndimage.distance_transform_edt(
        owner == 0, sampling=parts[0].spacing, return_indices=True
    )
    owner = np.where(distance <= NEIGHBOURHOOD_MM, owner[tuple(nearest)], 0)
    return [owner == number for number in range(1, len(parts) + 1)]
