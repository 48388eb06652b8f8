"""The edge of the image: the edge of the array, or the beginning of padding."""

from __future__ import annotations

import numpy as np

_MARGIN_PIXELS = 2


def beyond_edge(image: np.ndarray) -> np.ndarray:
    """Return bool (H, W): True in padding and in the two outermost rows and columns of the image.

    All padding is 0. The image ends with the outermost row or column that is not 0, so a vertebra next to
    padding is cut off. The margin has a second pixel for masks that end one pixel before the image does.
    """
    inner = np.zeros(image.shape, dtype=bool)
    rows, columns = (np.flatnonzero((image != 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        rows, columns = (np.arange(size) for size in image.shape)
    margin = _MARGIN_PIXELS
    inner[rows[0] + margin : rows[-1] + 1 - margin, columns[0] + margin : columns[-1] + 1 - margin] = True
    return ~inner
