"""Voxel sizes and extents that a spine's scan can have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .refusal import Refusal

IN_PLANE_MM = (0.1, 5.0)
BETWEEN_SLICES_MM = (0.1, 20.0)
FIELD_OF_VIEW_MM = (100.0, 600.0)
MOST_SLICES = 512

_UNITS = "are its units mm? Correct the header or export it again"


def refuse_no_spacing(spacing: Sequence[float]) -> None:
    """Refuse voxel sizes that are none.

    Raises:
        Refusal: one is 0, negative, NaN or infinite.
    """
    for size in spacing:
        if not (np.isfinite(size) and size > 0):
            raise Refusal(f"a voxel size in its header is {size:g} mm: correct the header or export it again")


def refuse_spacing(spacing: Sequence[float], slice_axis: int) -> None:
    """Refuse voxel sizes of no scanner: in plane outside 0.1 to 5 mm, between slices outside 0.1 to 20 mm.

    Args:
        spacing: mm along the three array axes.
        slice_axis: the one along which slices follow each other.

    Raises:
        Refusal: a size is outside.
    """
    refuse_no_spacing(spacing)
    for axis, size in enumerate(spacing):
        what, (low, high) = (
            ("between slices", BETWEEN_SLICES_MM) if axis == slice_axis else ("in plane", IN_PLANE_MM)
        )
        # Headers hold float32.
        if not low * (1 - 1e-6) <= size <= high * (1 + 1e-6):
            raise Refusal(f"its voxels are {size:g} mm {what}, outside {low:g} to {high:g} mm: {_UNITS}")


def refuse_extent(size: Sequence[int], spacing: Sequence[float], slice_axis: int) -> None:
    """Refuse a field of view outside 100 to 600 mm in plane.

    Args:
        size: voxels along the three array axes.
        spacing, slice_axis: as in `refuse_spacing`.

    Raises:
        Refusal: it is outside, in either direction.
    """
    low, high = FIELD_OF_VIEW_MM
    for axis in range(3):
        extent = size[axis] * spacing[axis]
        if axis != slice_axis and not low * (1 - 1e-6) <= extent <= high * (1 + 1e-6):
            raise Refusal(
                f"its field of view is {extent:.0f} mm ({size[axis]} voxels of {spacing[axis]:g} mm), "
                f"outside {low:g} to {high:g} mm: {_UNITS}"
            )


def refuse_many_slices(count: int) -> None:
    """Refuse more sagittal slices than a scan has.

    Raises:
        Refusal: more than 512.
    """
    if count > MOST_SLICES:
        raise Refusal(
            f"has {count} sagittal slices, at most {MOST_SLICES} are read: crop it or resample it to fewer"
        )
