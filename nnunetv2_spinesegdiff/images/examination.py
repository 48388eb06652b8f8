"""Is it a scan that can be segmented? Asked of every image, whatever file it comes from."""

from __future__ import annotations

import SimpleITK as sitk

from ..images.intensities import signal_range
from .grid import Grid, obliquity_deg
from .kind import refuse_kind
from .mask import refuse_mask
from .plane import left_right_axis, slice_axis, why_not_sagittal
from .refusal import Refusal
from .shear import upright
from .spacing import refuse_extent, refuse_many_slices, refuse_spacing

FEW_SLICES = 5
OBLIQUE_DEG = 10.0


def examine(image: sitk.Image, any_plane: bool) -> tuple[str, ...]:
    """Refuse what cannot be segmented; axes that are nearly at right angles are put right, in place.

    Args:
        any_plane: take thick slices in other planes than the sagittal one, too.

    Returns:
        What a reader of the results should know, a line each.

    Raises:
        Refusal: the first of the reasons in kind, spacing, shear, plane and voxels, masks among them.
    """
    refuse_kind(image)
    grid = Grid.of(image)
    slices = slice_axis(grid.size, grid.spacing, grid.cosines)
    refuse_spacing(grid.spacing, slices)
    refuse_extent(grid.size, grid.spacing, slices)
    sheared = upright(image)
    grid = Grid.of(image)
    count = grid.size[left_right_axis(grid.cosines)]
    refuse_many_slices(count)
    plane = why_not_sagittal(grid.size, grid.spacing, grid.cosines)
    if plane and not any_plane:
        raise Refusal(
            f"its slices are {plane} ({grid.spacing[slices]:.1f} mm apart), models are trained on sagittal "
            "ones: give the sagittal scan, or have it reformatted with --any_plane"
        )
    refuse_mask(image)
    signal = signal_warnings(image)
    oblique = _of_obliquity(obliquity_deg(grid.cosines))
    return (*sheared, *_of_plane(plane), *_of_slices(count), *oblique, *signal)


def signal_warnings(image: sitk.Image) -> tuple[str, ...]:
    """What the intensity scaling makes of voxels that are not as scanners have them.

    Raises:
        Refusal: NaN or infinite voxels, a constant volume, or no signal.
    """
    try:
        return signal_range(sitk.GetArrayViewFromImage(image)).warnings()
    except ValueError as error:
        raise Refusal(str(error)) from error


def _of_plane(plane: str) -> tuple[str, ...]:
    return (f"reformatted from thick {plane} slices: models are trained on sagittal ones",) if plane else ()


def _of_slices(count: int) -> tuple[str, ...]:
    if count == 1:
        return ("a single sagittal slice: whether it is the middle one cannot be told",)
    return (f"only {count} sagittal slices",) if count < FEW_SLICES else ()


def _of_obliquity(degrees: float) -> tuple[str, ...]:
    if degrees <= OBLIQUE_DEG:
        return ()
    return (
        f"the slices are oblique by {degrees:.0f} degrees: nobody has validated beyond {OBLIQUE_DEG:.0f}",
    )
