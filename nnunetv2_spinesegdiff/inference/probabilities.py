"""Reader of the probabilities that nnU-Net saves with a mask. They are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import UserError
from ..text import reason_of

_TOLERANCE = 1e-3
"""How far a rounded probability may be outside 0 to 1."""


def read_probabilities(path: Path, shape: tuple[int, ...], again: str) -> np.ndarray:
    """The array (heads, Z, Y, X) of one `<case>.npz`.

    Args:
        shape: that it must have.
        again: advice on how to create the file again, for messages.

    Raises:
        UserError: the file is missing or damaged, has another shape, or holds no probabilities.
    """
    if not path.is_file():
        raise UserError(path, "there are no probabilities", again)
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive["probabilities"]
        low, high = float(array.min()), float(array.max())
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(
            path, f"cannot be read, is it damaged? ({reason_of(error, with_type=True)})", f"{again}"
        ) from error
    if array.shape != shape:
        raise UserError(path, f"has shape {array.shape}, mask and labels ask for {shape}", again)
    # Written so that NaN fails.
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise UserError(path, f"holds {low:g} to {high:g}, no probabilities", again)
    return array
