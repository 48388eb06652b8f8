"""Does an uncertainty point at the errors? Where that is asked, and how well it does."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata


def near_foreground(*masks: np.ndarray, pixels: float = 10) -> np.ndarray:
    """Where errors are to be expected: within some pixels, in plane, of what any of the masks holds.

    Background far from any structure is easy, and there is much of it: it would make every figure look good.

    Args:
        masks: bool (Z, Y, X), foreground of truth and predictions.
        pixels: largest distance from center to center.

    Returns:
        Bool (Z, Y, X); nothing in slices without foreground.
    """
    foreground = np.logical_or.reduce(masks)
    near = np.zeros(foreground.shape, bool)
    for z in np.flatnonzero(foreground.any((1, 2))):
        near[z] = ndimage.distance_transform_edt(~foreground[z]) <= pixels
    return near


def error_auroc(uncertainty: np.ndarray, wrong: np.ndarray) -> float:
    """Probability that a wrong pixel is more uncertain than a right one; ties count half.

    Args:
        uncertainty: any shape, finite.
        wrong: of the same shape, false or true.

    Returns:
        0 to 1, 0.5 for a random ranking; NaN where no pixel or every pixel is wrong.

    Raises:
        ValueError: shapes that differ, or values that are not finite.
    """
    uncertainty, wrong = np.asarray(uncertainty, np.float64), np.asarray(wrong, bool)
    if uncertainty.shape != wrong.shape or not np.isfinite(uncertainty).all():
        raise ValueError(f"uncertainty {uncertainty.shape} of errors {wrong.shape}, or it is not finite")
    count = int(wrong.sum())
    if count in (0, wrong.size):
        return float("nan")
    ranks = rankdata(uncertainty)[wrong.ravel()]
    return float((ranks.sum() - count * (count + 1) / 2) / (count * (wrong.size - count)))
