"""Intensity scaling of MR volumes, the same for training data and for new scans."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

PERCENTILE = 98.0
TOP = 255.0


def scale_intensities(volume: sitk.Image) -> sitk.Image:
    """Scale so that the 98th percentile of the whole volume is 255, and clip to [0, 255].

    The percentile is the volume's, not the slice's: give the volume, then cut the slice out of it. Zero
    stays zero, which is also what padding gets.

    Args:
        volume: scalar image of any size, arbitrary units.

    Returns:
        float32 image on the same grid, values in [0, 255].

    Raises:
        ValueError: NaN or infinite voxels, a constant volume, or no signal (98th percentile not above 0).
    """
    values = sitk.GetArrayViewFromImage(volume)
    reference = signal_reference(values)
    scaled = sitk.GetImageFromArray(np.clip(values * (TOP / reference), 0, TOP).astype(np.float32))
    scaled.CopyInformation(volume)
    return scaled


def signal_reference(values: np.ndarray) -> float:
    """The 98th percentile of a volume's voxels, in their own units, above 0.

    Raises:
        ValueError: NaN or infinite voxels, a constant volume, or no signal (98th percentile not above 0).
    """
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"{count} voxels are NaN or infinite: repair the image")
    if values.min() == values.max():
        raise ValueError(f"all voxels are {values.flat[0]:g}: this is not a scan, export it again")
    reference = float(np.percentile(values, PERCENTILE))
    if reference <= 0:
        raise ValueError(f"the 98th percentile is {reference:g}, there is no signal: export the image again")
    return reference
