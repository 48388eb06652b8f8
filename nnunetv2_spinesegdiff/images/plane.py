"""Which way the slices of a volume run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .grid import patient_axes

THICK = 1.5
"""Slices are thick where they lie this many times further apart than the finest voxels of their plane."""

_PLANES = ("coronal", "axial", "sagittal")


def left_right_axis(cosines: np.ndarray) -> int:
    """The array axis that runs left-right, or nearest to it."""
    return patient_axes(cosines)[0][2]


def thick_axis(size: Sequence[int], spacing: Sequence[float]) -> int | None:
    """The array axis along which slices are thick, or which has one voxel only, whose size means little.

    None for nearly isotropic voxels, whose volume has any plane.

    Args:
        size: voxels along the three array axes.
        spacing: mm along them.
    """
    if list(size).count(1) == 1:
        return list(size).index(1)
    largest = int(np.argmax(spacing))
    others = [spacing[axis] for axis in range(3) if axis != largest]
    return largest if spacing[largest] > THICK * min(others) else None


def slice_axis(size: Sequence[int], spacing: Sequence[float], cosines: np.ndarray) -> int:
    """The array axis along which slices follow each other; left-right where voxels are nearly isotropic."""
    thick = thick_axis(size, spacing)
    return left_right_axis(cosines) if thick is None else thick


def why_not_sagittal(size: Sequence[int], spacing: Sequence[float], cosines: np.ndarray) -> str:
    """The plane of thick slices in another plane than the sagittal one, in words; else nothing.

    Args:
        size, spacing: as in `thick_axis`.
        cosines: (3, 3), columns are the LPS directions of the axes.
    """
    axes, _ = patient_axes(cosines)
    thick = thick_axis(size, spacing)
    return "" if thick is None or thick == axes[2] else _PLANES[axes.index(thick)]
