"""From a volume to the slice that nnU-Net sees, and from the slice back into the volume.

The volume is brought into patient axes by permuting and flipping its array axes as the direction cosines say;
nothing is rotated, so an oblique volume stays oblique and keeps its cosines. Which array axis runs left-right
is found, never assumed. In plane the slice is resampled to 1 mm and padded or cropped about its center.
That happens in the slice's own axes, where neither origin nor cosines are asked for, and with spacings
rounded to 1e-5 mm: file formats round them differently, and a scan must be the same to the bit in each.

Slices are counted along the axis that increases towards the patient's Right, as in RAS+. The array handed out
is laid out for nnU-Net: SimpleITK axes (Posterior, Inferior, Right), so that the NumPy array is
(slice, row, column) with the head up and the anterior side on the left. The affine states the same, so every
viewer shows the slice at its place in the patient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from nnunetv2_spinesegdiff.images.grid import Axes, Flips, Grid, obliquity_deg, patient_axes

IN_PLANE_MM = 1.0
IN_PLANE_SIZE = 320
LEFT_RIGHT_SIZE = 64

SLICES = ("middle", "all")
DIMS = ("2d", "3d")


@dataclass(frozen=True)
class SliceView:
    """What `extract_slice` cut out, and all that `put_back` needs to undo it.

    Attributes:
        image: the converted slice, SimpleITK size (320, 320, number of slices), axes (P, I, R).
        source: grid of the volume that it came from.
        oriented: that grid after permuting and flipping, axes (P, I, R).
        axes: source axis of each oriented axis.
        flips: whether that axis runs the other way.
        first_slice: index along R of the first slice kept, 0 = leftmost.
        num_slices: number of slices kept.
        obliquity_deg: angle between the slice normal and the patient's left-right axis.
        dim: "3d" where it was resampled along left-right, too.
    """

    image: sitk.Image
    source: Grid
    oriented: Grid
    axes: Axes
    flips: Flips
    first_slice: int
    num_slices: int
    obliquity_deg: float
    dim: str = "2d"

    @property
    def slab(self) -> Grid:
        """The slices kept, at the volume's own resolution."""
        size = (*self.oriented.size[:2], self.num_slices)
        return self.oriented.at((0, 0, self.first_slice), size, self.oriented.spacing)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(slice, row, column) of `image` in mm."""
        x, y, z = self.image.GetSpacing()
        return z, y, x

    def part(self, slices: str | int) -> SliceView:
        """Of a view of every slice, those that `extract_slice` would cut out.

        Raises:
            ValueError: no slice of that number.
        """
        first, count = _wanted_slices(self.num_slices, slices)
        image = self.image[:, :, first : first + count]
        return replace(self, image=image, first_slice=first, num_slices=count)


def extract_slice(
    volume: sitk.Image, *, slices: str | int = "middle", dim: str = "2d", is_label: bool = False
) -> SliceView:
    """Cut one sagittal slice, every slice, or a 1 mm volume out of a 3D volume.

    Resampling is linear (no smoothing beforehand, as published), nearest neighbor for labels. A volume that
    is already at 1 mm keeps its values. Space outside the volume is 0. Intensities are not touched: see
    `scale_intensities`, to be applied to the whole volume first.

    Args:
        volume: scalar 3D image of any axis order and obliquity.
        slices: "middle" keeps slice n // 2, counted towards the right, as 1 slice; a number keeps that slice,
            0 = leftmost; "all" keeps every slice. Along the left-right axis nothing is resampled.
        dim: "3d" instead resamples to 1 mm in all directions, 64 x 320 x 320, whatever `slices` is.
        is_label: nearest neighbor, and the pixel type is kept; otherwise linear, and the result is float32.

    Returns:
        The view; `view.image` has the NumPy shape (1, 320, 320), (n, 320, 320) or (64, 320, 320).

    Raises:
        ValueError: not a scalar 3D image, no slice of that number, or an unknown argument.
    """
    if not (isinstance(slices, int) or slices in SLICES) or dim not in DIMS:
        raise ValueError(f"slices must be one of {SLICES} and dim one of {DIMS}, got {slices!r} and {dim!r}")
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"the image has {volume.GetDimension()} dimensions and {volume.GetNumberOfComponentsPerPixel()} "
            "components per voxel, expected a scalar 3D volume"
        )
    source = Grid.of(volume)
    axes, flips = patient_axes(source.cosines)
    oriented = _oriented_grid(source, axes, flips)
    first, count = _wanted_slices(oriented.size[2], "all" if dim == "3d" else slices)
    view = SliceView(volume, source, oriented, axes, flips, first, count, obliquity_deg(source.cosines), dim)
    array = _to_patient_axes(sitk.GetArrayViewFromImage(volume), axes, flips)
    own = view.slab.in_own_axes()
    slab = own.image(np.ascontiguousarray(array[first : first + count]))
    index, size, spacing = _target(own, along_left_right=dim == "3d")
    image = _resample(slab, own.at(index, size, spacing), linear=not is_label)
    if dim == "2d":
        spacing[2] = view.slab.spacing[2]  # nothing was done along it, so nothing is rounded
    target = view.slab.at(index, size, spacing)
    return replace(view, image=target.image(sitk.GetArrayViewFromImage(image)))


def put_back(values: sitk.Image | np.ndarray, view: SliceView, *, is_label: bool = True) -> sitk.Image:
    """Bring something drawn on the extracted slice back onto the grid of the volume.

    Voxels that the slice does not cover, the other slices and what was cropped, become 0.

    Args:
        values: labels or a heatmap on the grid of `view.image`: a SimpleITK image of its size, or a NumPy
            array of its shape (n, 320, 320); (320, 320) will do for one slice.
        view: what `extract_slice` returned for the volume.
        is_label: nearest neighbor, keeping the pixel type; otherwise linear, as float32.

    Returns:
        Image with exactly the size, spacing, origin and direction of the volume.

    Raises:
        ValueError: `values` has another size than the extracted slice.
    """
    size = view.image.GetSize()
    array = sitk.GetArrayFromImage(values) if isinstance(values, sitk.Image) else np.asarray(values)
    if array.ndim == 2:
        array = array[None]
    if array.shape != size[::-1]:
        raise ValueError(f"values have the shape {array.shape}, the extracted slice has {size[::-1]}")
    own = view.slab.in_own_axes()
    target = own.at(*_target(own, along_left_right=view.dim == "3d"))
    slab = _resample(target.image(array), own, linear=not is_label)
    values_in_slab = sitk.GetArrayViewFromImage(slab)
    whole = np.zeros(view.oriented.size[::-1], dtype=values_in_slab.dtype)
    whole[view.first_slice : view.first_slice + view.num_slices] = values_in_slab
    return view.source.image(np.ascontiguousarray(_from_patient_axes(whole, view.axes, view.flips)))


def _oriented_grid(source: Grid, axes: Axes, flips: Flips) -> Grid:
    first = np.zeros(3)
    for axis, flip in zip(axes, flips, strict=True):
        first[axis] = source.size[axis] - 1 if flip else 0
    signs = np.where(flips, -1.0, 1.0)
    turned = replace(source, direction=tuple((source.cosines[:, list(axes)] * signs).ravel().tolist()))
    origin = replace(turned, origin=tuple(source.position(first).tolist()))
    return origin.at((0, 0, 0), [source.size[a] for a in axes], [source.spacing[a] for a in axes])


def _to_patient_axes(array: np.ndarray, axes: Axes, flips: Flips) -> np.ndarray:
    # NumPy's axes are SimpleITK's in reverse: work on the transpose, where they agree.
    moved = array.T.transpose(axes)
    return moved[tuple(slice(None, None, -1 if flip else 1) for flip in flips)].T


def _from_patient_axes(array: np.ndarray, axes: Axes, flips: Flips) -> np.ndarray:
    unflipped = array.T[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return unflipped.transpose(np.argsort(axes)).T


def _wanted_slices(count: int, slices: str | int) -> tuple[int, int]:
    """First slice and number of slices."""
    if slices == "all":
        return 0, count
    index = count // 2 if slices == "middle" else int(slices)
    if not 0 <= index < count:
        raise ValueError(f"there is no slice {index}, only 0 (leftmost) to {count - 1}")
    return index, 1


def _target(slab: Grid, *, along_left_right: bool) -> tuple[list[float], list[int], list[float]]:
    """What nnU-Net sees: fractional index in the slab of the first voxel, size and spacing."""
    sizes, spacings, first = list(slab.size), list(slab.spacing), [0.0, 0.0, 0.0]
    wanted = {0: IN_PLANE_SIZE, 1: IN_PLANE_SIZE}
    if along_left_right:
        wanted[2] = LEFT_RIGHT_SIZE
    for axis, size in wanted.items():
        first[axis] = _first_index(slab.size[axis], slab.spacing[axis], size)
        sizes[axis], spacings[axis] = size, IN_PLANE_MM
    return first, sizes, spacings


def _first_index(size: int, spacing: float, wanted: int) -> float:
    """Fractional source index of the first of `wanted` samples 1 mm apart.

    The samples at 1 mm are centered on the source's extent first and padded or cropped by whole samples then;
    centering the final grid directly would shift a 1 mm source of odd size by half a voxel and blur it.
    """
    samples = max(1, round(size * spacing / IN_PLANE_MM))
    offset_mm = ((size - 1) * spacing - (samples - 1) * IN_PLANE_MM) / 2
    cropped = (samples - wanted) // 2
    return (offset_mm + cropped * IN_PLANE_MM) / spacing


def _resample(image: sitk.Image, target: Grid, *, linear: bool) -> sitk.Image:
    return sitk.Resample(
        image,
        target.size,
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkLinear if linear else sitk.sitkNearestNeighbor,
        target.origin,
        target.spacing,
        target.direction,
        0.0,  # outside of the image
        sitk.sitkFloat32 if linear else image.GetPixelID(),
    )
