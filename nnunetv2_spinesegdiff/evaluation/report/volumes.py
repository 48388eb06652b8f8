"""Images, masks and maps of a case as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import UserError
from ...images.grid import Grid, check_same_grid
from ...images.reading import read_image


@dataclass(frozen=True)
class Volume:
    """An image of two or three axes.

    Attributes:
        path: of its file.
        image: as it was read.
        values: (Z, Y, X); Z = 1 for a 2D file, color components averaged.
        spacing: (z, y, x) in mm, 1 along the slices of a 2D file.
        direction: ITK's cosines (3, 3) in LPS, column i along array axis 2 - i; None for a 2D file.
    """

    path: Path
    image: sitk.Image
    values: np.ndarray
    spacing: tuple[float, ...]
    direction: np.ndarray | None

    def check_on(self, other: Volume) -> None:
        """Raise a UserError if the voxels are not in the same places as those of another volume."""
        check_same_grid(self.path, self.image, other.path, other.image)


def read_volume(path: Path) -> Volume:
    """Read a file of two or three axes.

    Raises:
        UserError: it is missing, cannot be read, or has more axes.
    """
    image = read_image(path, placed=False)
    values, spacing = sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = values.mean(-1)
    if image.GetDimension() == 2:
        return Volume(path, image, values[None], (1.0, *spacing), None)
    if image.GetDimension() > 3:
        raise UserError(
            path, f"has {image.GetDimension()} axes, pictures need 2 or 3", "save one file a channel"
        )
    return Volume(path, image, values, spacing, Grid.of(image).cosines)
