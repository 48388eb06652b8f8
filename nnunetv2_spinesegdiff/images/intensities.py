"""Intensity scaling of MR volumes, the same for training data and for new scans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

PERCENTILE = 98.0
TOP = 255.0

_BACKGROUND = 1.0
"""Percentile that is taken for background."""
_PADDING_SHARE = 1e-3
"""Of the voxels that must share the lowest or highest value if it is to be padding."""


@dataclass(frozen=True)
class SignalRange:
    """Range of the signal in a volume, in its own units.

    Attributes:
        low: value of no signal. 0 in the images of a scanner; others were shifted (z-scores, offsets,
            inverted images), and it is their 1st percentile.
        high: the 98th percentile, above `low`.
        padding: a lowest or highest value that many voxels have and that is further away from all others
            than these are from each other; None if there is none.
    """

    low: float
    high: float
    padding: float | None = None

    def warnings(self) -> tuple[str, ...]:
        """Warnings about unusual intensities, one line each."""
        said = []
        if self.padding is not None:
            said.append(f"voxels of {self.padding:g} are taken for padding, not for signal")
        if self.low:
            said.append(f"values of a scanner begin at 0, these at {self.low:g}: taken for shifted")
        return tuple(said)


def scale_intensities(volume: sitk.Image) -> sitk.Image:
    """Scale so that the 98th percentile of the whole volume is 255, and clip to [0, 255].

    The percentile is the volume's, not the slice's: give the volume, then cut the slice out of it. Zero
    stays zero, which is also what padding gets; see `SignalRange` for volumes whose signal begins elsewhere.

    Args:
        volume: scalar image of any size, arbitrary units.

    Returns:
        float32 image on the same grid, values in [0, 255].

    Raises:
        ValueError: NaN or infinite voxels, a constant volume, or no signal (98th percentile not above 0).
    """
    values = sitk.GetArrayViewFromImage(volume)
    found = signal_range(values)
    scaled = np.clip(_above(values, found) * (TOP / (found.high - found.low)), 0, TOP)
    return _like(volume, scaled)


def signal_from_zero(volume: sitk.Image) -> sitk.Image:
    """The volume in its own units, but for a shift, with 0 for padding and for what is below no signal.

    Raises:
        ValueError: as `scale_intensities`.
    """
    values = sitk.GetArrayViewFromImage(volume)
    return _like(volume, np.maximum(_above(values, signal_range(values)), 0))


def signal_range(values: np.ndarray) -> SignalRange:
    """Find what in a volume is signal.

    Raises:
        ValueError: NaN or infinite voxels, a constant volume, no signal (98th percentile not above 0), or
            values that begin far from 0 and are mostly bright.
    """
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"{count} voxels are NaN or infinite: repair the image")
    if values.min() == values.max():
        raise ValueError(f"all voxels are {values.flat[0]:g}: this is not a scan, export it again")
    padding = _padding(values)
    inside = values if padding is None else values[values != padding]
    background, middle, high = (float(v) for v in np.percentile(inside, (_BACKGROUND, 50, PERCENTILE)))
    # Raw magnitudes begin at 0; filters put a few voxels a little below. Tissue without any air or bone does
    # not begin at half of its brightest values.
    shifted = -background > 0.05 * (high - background) or background > 0.5 * high > 0
    low = background if shifted and high > background else 0.0
    if low and high - middle < middle - background:  # most voxels of a scan are air and dark tissue
        raise ValueError(f"values from {background:g} to {high:g} look inverted: export the image again")
    if high <= low:
        raise ValueError(f"the 98th percentile is {high:g}, there is no signal: export the image again")
    return SignalRange(low, high, padding)


def _padding(values: np.ndarray) -> float | None:
    for outermost, end in ((values.max(), np.max), (values.min(), np.min)):
        padded = values == outermost
        if np.count_nonzero(padded) < _PADDING_SHARE * values.size or padded.all():
            continue
        others = values[~padded].astype(float)
        if abs(float(outermost) - end(others)) > np.ptp(others) > 0:
            return float(outermost)
    return None


def _above(values: np.ndarray, found: SignalRange) -> np.ndarray:
    above = values if not found.low else values.astype(np.float64) - found.low
    return above if found.padding is None else np.where(values == found.padding, 0, above)


def _like(volume: sitk.Image, values: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.CopyInformation(volume)
    return image
