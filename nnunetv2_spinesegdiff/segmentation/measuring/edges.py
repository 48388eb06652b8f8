"""Where the picture ends: at the array's edge, or where the scan was padded."""

from __future__ import annotations

import numpy as np

_MARGIN_PIXELS = 2


def beyond_edge(image: np.ndarray) -> np.ndarray:
    """Bool (H, W): True except for pixels at least two pixels inside the image.

    Padding is 0 without exception, so the picture ends with the outermost row or column that is not: a
    vertebra that the scan cuts off in the middle of the array is cut off all the same. One pixel of the
    margin is for masks that stop just short of the picture's end.
    """
    inner = np.zeros(image.shape, dtype=bool)
    rows, columns = (np.flatnonzero((image != 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        rows, columns = (np.arange(size) for size in image.shape)
    margin = _MARGIN_PIXELS
    inner[rows[0] + margin : rows[-1] + 1 - margin, columns[0] + margin : columns[-1] + 1 - margin] = True
    return ~inner
