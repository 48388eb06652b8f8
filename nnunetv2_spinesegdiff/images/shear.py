"""Axes that are not at right angles."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import SimpleITK as sitk

from .grid import Grid, grids_differ_by_mm
from .refusal import Refusal

MAX_SHEAR_DEG = 1.0
ROUNDING_DEG = 0.01
"""Headers round; half a field of view away this is less than 0.05 mm, and not worth a word."""

_EXACT = 1e-5


def shear_deg(axes: np.ndarray) -> float:
    """The worst angle in degrees by which two axes miss a right angle, 0..90.

    Args:
        axes: (3, 3), a column an axis, of any length above 0.
    """
    unit = axes / np.linalg.norm(axes, axis=0)
    worst = max(abs(float(unit[:, a] @ unit[:, b])) for a, b in combinations(range(3), 2))
    return float(np.degrees(np.arcsin(min(worst, 1.0))))


def refuse_shear(degrees: float) -> None:
    """Refuse more shear than can be put right.

    Raises:
        Refusal: more than a degree.
    """
    if not degrees <= MAX_SHEAR_DEG:
        raise Refusal(
            f"its axes miss right angles by {degrees:.1f} degrees: resample it to a grid without shear"
        )


def shear_warnings(degrees: float, moved_mm: float) -> tuple[str, ...]:
    """What a reader should know of axes that were put right, if it is worth a word."""
    if degrees <= ROUNDING_DEG:
        return ()
    return (
        f"the axes miss right angles by {degrees:.2f} degrees; put right, which moves voxels by up to "
        f"{moved_mm:.1f} mm",
    )


def upright(image: sitk.Image) -> tuple[str, ...]:
    """Put the axes of a 3D image at right angles, in place; returns warnings.

    Raises:
        Refusal: they miss them by more than a degree.
    """
    grid = Grid.of(image)
    degrees = shear_deg(grid.cosines)
    refuse_shear(degrees)
    straight = grid.orthonormal()
    if np.abs(grid.cosines.T @ grid.cosines - np.eye(3)).max() > _EXACT:
        image.SetDirection(straight.direction)
    return shear_warnings(degrees, grids_differ_by_mm(grid, straight))
