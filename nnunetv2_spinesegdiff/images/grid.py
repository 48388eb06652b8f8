"""Where the voxels of an image are located, and whether two images have the same grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import UserError

TOLERANCE_MM = 0.1
"""Corners of two images on the same grid are at most this far apart.

Headers round positions and directions: NIfTI stores both as float32. More than rounding is a shift, which
overlaps and distances would include without notice. The converter, evaluation, report and prediction all use
this tolerance.
"""

SPACING_DECIMALS = 5

Axes = tuple[int, int, int]
Flips = tuple[bool, bool, bool]

# Columns are unit vectors towards Posterior, Inferior and Right in the LPS world of SimpleITK.
_PIR = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image are located: the geometry of a SimpleITK image without its values.

    Attributes:
        size: number of voxels along SimpleITK's axes (x, y, z); two of them for a 2D image.
        spacing: mm along the same axes.
        origin: LPS position in mm of the center of voxel (0, 0, 0).
        direction: row-major 3 x 3 (2 x 2) matrix whose columns are the LPS directions of the axes.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image | sitk.ImageFileReader) -> Grid:
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def cosines(self) -> np.ndarray:
        """Direction as a (3, 3) array, one column per axis."""
        return np.asarray(self.direction).reshape(len(self.size), -1)

    def position(self, index: np.ndarray) -> np.ndarray:
        """LPS position in mm of (fractional) voxel indices of shape (..., 3)."""
        return np.asarray(self.origin) + np.asarray(index) * np.asarray(self.spacing) @ self.cosines.T

    def at(self, index: Sequence[float], size: Sequence[int], spacing: Sequence[float]) -> Grid:
        """The grid with the same axes whose first voxel is at the fractional `index` of this one."""
        (i, j, k), (x, y, z) = size, spacing
        a, b, c = self.position(np.asarray(index)).tolist()
        return replace(self, size=(i, j, k), spacing=(x, y, z), origin=(a, b, c))

    def orthonormal(self) -> Grid:
        """The grid with the nearest axes of unit length at right angles and the same first voxel.

        Headers hold rounded cosines, and NIfTI has no place for axes that are not orthonormal.
        """
        if np.abs(self.cosines.T @ self.cosines - np.eye(3)).max() < 1e-9:
            return self
        left, _, right = np.linalg.svd(self.cosines)
        return replace(self, direction=tuple((left @ right).ravel().tolist()))

    def in_own_axes(self) -> Grid:
        """Return the grid with rounded spacing, at the origin and along the axes of the world."""
        x, y, z = (round(mm, SPACING_DECIMALS) for mm in self.spacing)
        return Grid(self.size, (x, y, z), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))

    def image(self, array: np.ndarray) -> sitk.Image:
        """SimpleITK image on this grid of a NumPy array (z, y, x)."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def patient_axes(cosines: np.ndarray) -> tuple[Axes, Flips]:
    """Which array axis runs (Posterior, Inferior, Right), and whether it runs backwards.

    Of the six assignments the one that aligns best over all three axes is taken, so that an oblique volume
    never gives one axis twice.

    Args:
        cosines: (3, 3), columns are the LPS directions of the SimpleITK axes.

    Returns:
        (axes, flips), each of length 3: oriented axis j is source axis axes[j], reversed if flips[j].
    """
    alignment = _PIR.T @ np.asarray(cosines)
    axes = max(permutations(range(3)), key=lambda p: sum(abs(alignment[j, p[j]]) for j in range(3)))
    flips = tuple(bool(alignment[j, axes[j]] < 0) for j in range(3))
    return axes, flips  # type: ignore[return-value]


def obliquity_deg(cosines: np.ndarray) -> float:
    """Angle in degrees, 0..90, between the slice normal and the patient's left-right axis."""
    axes, _ = patient_axes(cosines)
    normal = np.cross(cosines[:, axes[0]], cosines[:, axes[1]])
    # arctan2 keeps its precision at small angles, where arccos loses it.
    return float(np.degrees(np.arctan2(np.hypot(normal[1], normal[2]), abs(normal[0]))))


def grids_differ_by_mm(a: Grid, b: Grid) -> float:
    """Return the largest distance in mm between corresponding corner voxels; infinite if the sizes differ."""
    if a.size != b.size:
        return float("inf")
    corners = np.array(list(product(*((0, count - 1) for count in a.size))))
    return float(np.linalg.norm(a.position(corners) - b.position(corners), axis=1).max())


def check_same_grid(path: Path, image: sitk.Image, other_path: Path, other: sitk.Image) -> None:
    """Check that two images have their voxels in the same places, up to `TOLERANCE_MM`.

    Args:
        path, image: what is checked.
        other_path, other: whose grid it should have.

    Raises:
        UserError: it has another number of voxels, or a corner is further away.
    """
    grid, expected = Grid.of(image), Grid.of(other)
    if grid.size == expected.size:
        # Of a single slice, thickness and normal count, too, as if it had a neighbor.
        size: Any = tuple(max(2, count) for count in grid.size)
        distance = grids_differ_by_mm(replace(grid, size=size), replace(expected, size=size))
        if distance <= TOLERANCE_MM:
            return
        difference = f"corners are up to {distance:.3g} mm apart"
    else:
        sizes = (" x ".join(map(str, one.size)) for one in (grid, expected))
        difference = " voxels instead of ".join(sizes)
    raise UserError(path, f"is not on the grid of {other_path} ({difference})", "resample it to that grid")
