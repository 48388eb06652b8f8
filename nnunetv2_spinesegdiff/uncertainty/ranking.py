"""Where an uncertainty is expected to point at errors."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


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
