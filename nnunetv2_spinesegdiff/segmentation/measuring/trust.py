"""How far a part can be trusted: its uncertainty, and whether the two stages agree on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .shapes import Shape

NEIGHBOURHOOD_MM = 10.0


def mean_inside(values: np.ndarray | None, inside: np.ndarray) -> float | None:
    """Mean of a map (H, W) over a mask; None without a map or where the mask is empty."""
    if values is None or not inside.any():
        return None
    return float(values[inside].mean(dtype=np.float64))


def dice(a: np.ndarray, b: np.ndarray) -> float | None:
    """Dice of two bool masks, [0, 1]; None where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else None


def neighbourhoods(structure: np.ndarray, parts: Sequence[Shape]) -> list[np.ndarray]:
    """The surroundings of each part, in which another mask of its structure is compared with it.

    All within 10 mm of the part that is not nearer to other parts of the structure: what the other mask has
    of the neighboring disc, or of a spinous process, does not count against it.

    Args:
        structure: (H, W) bool, everything of the structure; parts: some of it.
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
