"""Images, masks and maps of a case as arrays, and whether they lie in the same place."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import UserError

TOLERANCE = 0.5
"""How far two grids may be apart, as a share of the smallest voxel side: less is not seen in a picture."""


@dataclass(frozen=True)
class Volume:
    """What a file holds and where it lies.

    Attributes:
        path: of the file.
        values: (Z, Y, X); Z = 1 for a 2D file, components of a colour averaged.
        spacing: (z, y, x) in mm, 1 along the slices of a 2D file.
        direction: ITK's cosines (3, 3) in LPS, column i along array axis 2 - i; None for a 2D file.
        corners: positions in mm of the outermost voxels, (4, 2) or (8, 3).
    """

    path: Path
    values: np.ndarray
    spacing: tuple[float, ...]
    direction: np.ndarray | None
    corners: np.ndarray


def read_volume(path: Path) -> Volume:
    """Read a file of two or three axes.

    Raises:
        UserError: there is no such file, it cannot be read, or it has more axes.
    """
    if not path.is_file():
        raise UserError(f"{path}: is not there; was it moved? Run spinesegdiff evaluate again")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[-1]
        raise UserError(f"{path}: cannot be read as an image ({cause}); replace it") from None
    axes = image.GetDimension()
    if axes not in (2, 3):
        raise UserError(f"{path}: has {axes} axes, pictures need 2 or 3; save one file a channel")
    values = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = values.mean(-1)
    spacing = tuple(image.GetSpacing()[::-1])
    ends = product(*((0, size - 1) for size in image.GetSize()))
    return Volume(
        path,
        values if axes == 3 else values[None],
        spacing if axes == 3 else (1.0, *spacing),
        np.asarray(image.GetDirection()).reshape(3, 3) if axes == 3 else None,
        np.array([image.TransformIndexToPhysicalPoint(end) for end in ends]),
    )


def check_same_place(volume: Volume, like: Volume) -> None:
    """Voxel for voxel over each other, up to rounded headers.

    Raises:
        UserError: the sizes differ, or a corner of one is further than `TOLERANCE` from that of the other.
    """
    if volume.values.shape != like.values.shape or volume.corners.shape != like.corners.shape:
        sizes = " and ".join("x".join(map(str, one.values.shape[::-1])) for one in (volume, like))
        difference = f"sizes {sizes}"
    else:
        apart = float(np.linalg.norm(volume.corners - like.corners, axis=1).max())
        if apart <= TOLERANCE * min(like.spacing):
            return
        difference = f"corners up to {apart:.3g} mm apart"
    raise UserError(
        f"{volume.path}: does not lie where {like.path} does ({difference}); resample it to that grid"
    )
