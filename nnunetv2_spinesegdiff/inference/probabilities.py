"""The probabilities that nnU-Net saves beside a mask, read with care."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import UserError

_TOLERANCE = 1e-3
"""How far a probability may lie outside 0 to 1 for rounding's sake."""


def read_probabilities(path: Path, shape: tuple[int, ...], again: str) -> np.ndarray:
    """The array (heads, Z, Y, X) of one `<case>.npz`.

    Args:
        shape: that it must have.
        again: how to make the file anew, for messages.

    Raises:
        UserError: the file is missing or damaged, has another shape, or holds no probabilities.
    """
    if not path.is_file():
        raise UserError(f"{path}: there are no probabilities; {again}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive["probabilities"]
        low, high = float(array.min()), float(array.max())
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be read, is it damaged? ({told(error)}); {again}") from error
    if array.shape != shape:
        raise UserError(f"{path}: has shape {array.shape}, mask and labels ask for {shape}; {again}")
    # Written so that NaN fails.
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise UserError(f"{path}: holds {low:g} to {high:g}, no probabilities; {again}")
    return array


def told(error: Exception) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
