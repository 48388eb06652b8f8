"""Checks of every image, whatever file it comes from: is it a scan that can be segmented?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from .grid import Grid, grids_differ_by_mm, obliquity_deg, patient_axes
from .intensities import signal_range
from .scan import Refusal

IN_PLANE_MM = (0.1, 5.0)
BETWEEN_SLICES_MM = (0.1, 20.0)
FIELD_OF_VIEW_MM = (100.0, 600.0)
MOST_SLICES = 512
FEW_SLICES = 5
OBLIQUE_DEG = 10.0
THICK = 1.5  # times the finest voxels of their plane are thick slices apart
MAX_SHEAR_DEG = 1.0
ROUNDING_DEG = 0.01  # of headers; less than 0.05 mm at the edge of the field of view, and not reported
MOST_LABELS = 32  # distinct values of a mask; SPIDER's have about 20, scans hundreds
_SAMPLE = 50_000
_PLANES = ("coronal", "axial", "sagittal")


def examine(image: sitk.Image, any_plane: bool) -> tuple[str, ...]:
    """Reject what cannot be segmented; axes that are nearly at right angles are corrected in place.

    Returns:
        What a reader of the results should know, one line each.

    Raises:
        Refusal: the first of the reasons in type, size, shear, plane and voxels.
    """
    kind = image.GetPixelIDTypeAsString()
    if kind.startswith("label"):  # first: asked for its voxels, one ends the process
        raise Refusal("is a label map of ITK: give the scanner's image")
    check_kind(image.GetDimension(), image.GetNumberOfComponentsPerPixel())
    if kind.startswith("complex"):
        raise Refusal("its voxels are complex numbers: give the magnitude image")
    grid = Grid.of(image)
    axis, plane = slice_plane(grid)
    check_sizes(grid, axis)
    grid, warnings = straightened(grid)
    image.SetDirection(grid.direction)
    count = grid.size[patient_axes(grid.cosines)[0][2]]
    if count > MOST_SLICES:
        raise Refusal(f"has {count} sagittal slices, at most {MOST_SLICES} are read: crop or resample it")
    if plane != "sagittal":
        if not any_plane:
            cause = f"its slices are {plane} ({grid.spacing[axis]:.1f} mm apart), models need sagittal ones"
            raise Refusal(f"{cause}: give the sagittal scan, or have it reformatted with --any_plane")
        warnings += (f"reformatted from thick {plane} slices: models are trained on sagittal ones",)
    voxels = sitk.GetArrayViewFromImage(image)
    _refuse_mask(voxels)
    if count < FEW_SLICES:
        single = "a single sagittal slice: it may not be the middle one"
        warnings += (single if count == 1 else f"only {count} sagittal slices",)
    degrees = obliquity_deg(grid.cosines)
    if degrees > OBLIQUE_DEG:
        not_validated = f"not validated above {OBLIQUE_DEG:.0f}"
        warnings += (f"the slices are oblique by {degrees:.0f} degrees: {not_validated}",)
    try:
        return (*warnings, *signal_range(voxels).warnings())
    except ValueError as error:
        raise Refusal(str(error)) from error


def check_kind(dimensions: int, values: int = 1) -> None:
    """Check for three dimensions and one value per voxel."""
    if dimensions < 3:
        raise Refusal("is a 2D picture without a position in the patient: give the volume that it comes from")
    if dimensions > 3:
        raise Refusal(f"has {dimensions} dimensions (several volumes): give one volume as a file of its own")
    if values != 1:
        raise Refusal(f"has {values} values per voxel (colors or channels): give an image with one")


def check_spacing(spacing: Sequence[float]) -> None:
    """Reject voxel sizes that are 0, negative, NaN or infinite."""
    for size in spacing:
        if not (np.isfinite(size) and size > 0):
            raise Refusal(f"a voxel size in its header is {size:g} mm: correct the header or export it again")


def check_sizes(grid: Grid, slices: int) -> None:
    """Check voxel sizes and, in plane, the field of view; slices follow each other along axis `slices`."""
    check_spacing(grid.spacing)
    for axis, (count, size) in enumerate(zip(grid.size, grid.spacing, strict=True)):
        if axis == slices:
            checks = [(f"its voxels are {size:g} mm between slices", size, BETWEEN_SLICES_MM)]
        else:
            extent = f"its field of view is {count * size:.0f} mm ({count} voxels of {size:g} mm)"
            in_plane = (f"its voxels are {size:g} mm in plane", size, IN_PLANE_MM)
            checks = [in_plane, (extent, count * size, FIELD_OF_VIEW_MM)]
        for what, value, (low, high) in checks:
            if not low * (1 - 1e-6) <= value <= high * (1 + 1e-6):  # headers hold float32
                advice = "are its units mm? Correct the header or export it again"
                raise Refusal(f"{what}, outside {low:g} to {high:g} mm: {advice}")


def straightened(grid: Grid) -> tuple[Grid, tuple[str, ...]]:
    """Return the nearest grid with axes at right angles, up to a degree away, and warnings."""
    degrees = shear_deg(grid.cosines)
    if not degrees <= MAX_SHEAR_DEG:
        sheared = f"its axes miss right angles by {degrees:.1f} degrees"
        raise Refusal(f"{sheared}: resample it to a grid without shear")
    straight = grid.orthonormal()
    if degrees <= ROUNDING_DEG:
        return straight, ()
    sheared = f"the axes miss right angles by {degrees:.2f} degrees"
    moved = f"which moves voxels by up to {grids_differ_by_mm(grid, straight):.1f} mm"
    return straight, (f"{sheared}; they were corrected, {moved}",)


def shear_deg(axes: np.ndarray) -> float:
    """Return the largest angle in degrees by which two axes, columns (3, 3), miss a right angle, 0..90."""
    unit = axes / np.linalg.norm(axes, axis=0)
    worst = np.abs(np.triu(unit.T @ unit, k=1)).max()
    return float(np.degrees(np.arcsin(min(worst, 1.0))))


def slice_plane(grid: Grid) -> tuple[int, str]:
    """Return the array axis and plane of single or thick slices; of near-isotropic voxels, sagittal ones."""
    axes, _ = patient_axes(grid.cosines)
    axis = int(np.argmax(grid.spacing))
    if grid.size.count(1) == 1:
        axis = grid.size.index(1)
    elif not grid.spacing[axis] > THICK * min(grid.spacing):
        axis = axes[2]
    return axis, _PLANES[axes.index(axis)]


def _refuse_mask(voxels: np.ndarray) -> None:
    """Reject 2 to `MOST_LABELS` distinct values, all of them whole numbers."""
    flat = voxels.reshape(-1)
    # More values in a sample are more values in the whole.
    if len(np.unique(flat[:: max(1, flat.size // _SAMPLE)])) > MOST_LABELS:
        return
    found = np.unique(flat)
    if 2 <= len(found) <= MOST_LABELS and np.isfinite(found).all() and (found == np.round(found)).all():
        what = f"only {len(found)} values, all whole numbers ({found[0]:g} to {found[-1]:g})"
        raise Refusal(f"looks like a mask, not a scan: its voxels have {what}; give the scan of this mask")
