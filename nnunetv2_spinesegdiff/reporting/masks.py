"""Reading masks, and whether two of them lie on the same grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import UserError
from ..inference.finished import is_whole

MAX_SHIFT_MM = 0.05
"""By which a corner of two grids may differ: headers round."""


def read_mask(path: Path) -> sitk.Image:
    """A label map, an image or a heatmap of three dimensions.

    Raises:
        UserError: missing, truncated, damaged, or of other dimensions.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not is_whole(path):
        raise UserError(f"{path}: cannot be read, truncated or damaged; make it again")
    image = sitk.ReadImage(str(path))
    dimensions, values = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dimensions != 3 or values != 1:
        raise UserError(
            f"{path}: has {dimensions} dimensions and {values} values a voxel; expected three and one"
        )
    return image


def check_same_grid(path: Path, image: sitk.Image, label_path: Path, label: sitk.Image) -> None:
    """Overlap counts voxels by their index: of a shifted mask it says nothing.

    Raises:
        UserError: another size, spacing, origin or direction; the message names the file and what differs.
    """
    if difference := _difference(image, label):
        raise UserError(f"{path}: {difference} {label_path.name}; resample it to the label's grid")


def _difference(image: sitk.Image, label: sitk.Image) -> str | None:
    """What differs, in words that end before the label's name."""
    if image.GetSize() != label.GetSize():
        return f"has {_told(image.GetSize())} voxels, not the {_told(label.GetSize())} of"
    extent = np.array(label.GetSize()) * label.GetSpacing()
    if (np.abs(np.subtract(image.GetSpacing(), label.GetSpacing())) * label.GetSize() > MAX_SHIFT_MM).any():
        return f"has a spacing of {_told(image.GetSpacing())} mm, not the {_told(label.GetSpacing())} of"
    turned = np.abs(np.subtract(image.GetDirection(), label.GetDirection())).reshape(3, 3)
    if (turned * extent > MAX_SHIFT_MM).any():
        return "is turned or flipped against"
    shift = float(np.linalg.norm(np.subtract(image.GetOrigin(), label.GetOrigin())))
    return f"has its origin {shift:.3g} mm off that of" if shift > MAX_SHIFT_MM else None


def _told(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
