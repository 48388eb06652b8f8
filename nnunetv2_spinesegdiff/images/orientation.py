"""Which slice of a volume to show, and how to turn it as radiologists look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .grid import patient_axes

X, Y, Z = range(3)
# Of the patient's axes (x, y, z of LPS): the letter at the negative and at the positive end.
LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))


@dataclass(frozen=True)
class View:
    """A slice of arrays (..., Z, Y, X), turned for display."""

    axis: int  # array axis that is cut, 0 to 2 of (Z, Y, X)
    index: int  # of the slice along it
    transposed: bool  # whether the two axes that stay change places
    flips: tuple[bool, bool]  # whether rows and columns are reversed, after that
    spacing: tuple[float, float]  # mm between rows, and between columns, of the picture
    letters: tuple[str, str, str, str]  # at top, bottom, left and right; empty if the cosines are unknown

    def of(self, array: np.ndarray) -> np.ndarray:
        """The slice (..., rows, columns) of an array (..., Z, Y, X), first row at the top."""
        picture = np.take(array, self.index, axis=self.axis - 3)
        if self.transposed:
            picture = np.swapaxes(picture, -1, -2)
        turned = tuple(axis for axis, flip in zip((-2, -1), self.flips, strict=True) if flip)
        return np.flip(picture, turned)


def view_of(mask: np.ndarray, direction: np.ndarray | None, spacing: Sequence[float]) -> View:
    """The slice to show: the only one, or of several sagittal ones the one with most of the mask.

    A sagittal slice has the head up and anterior on the left. A single slice is shown in its own plane: a
    coronal one with the head up and an axial one with anterior up, both with the patient's right on the left.
    An oblique volume is shown along its own axes, with the letters of the nearest patient axes.

    Args:
        mask: label map (Z, Y, X); where it is empty, the middle slice is shown.
        direction: ITK's direction cosines (3, 3) in LPS, column i along array axis 2 - i; None where they are
            unknown: the single or the middle slice along the first axis, not turned and without letters.
        spacing: (z, y, x) in mm.
    """
    if direction is None:
        rows, columns = float(spacing[1]), float(spacing[2])
        return View(0, _fullest(mask, 0), False, (False, False), (rows, columns), ("", "", "", ""))
    cosines = np.asarray(direction, dtype=float)[:, ::-1]
    runs_along = dict(zip(patient_axes(np.asarray(direction))[0], (Y, Z, X), strict=True))
    patient = [runs_along[2 - axis] for axis in range(3)]
    cut = mask.shape.index(1) if 1 in mask.shape else patient.index(X)
    stay = [axis for axis in range(3) if axis != cut]
    vertical = Z if patient[cut] != Z else Y
    row_axis, column_axis = sorted(stay, key=lambda axis: patient[axis] != vertical)
    # Rows run towards F or P, columns towards P or L: towards positive, but for the head at the top.
    flips = (
        bool((cosines[patient[row_axis], row_axis] > 0) == (vertical == Z)),
        bool(cosines[patient[column_axis], column_axis] < 0),
    )
    low, high = LETTERS[vertical]
    top, bottom = (high, low) if vertical == Z else (low, high)
    return View(
        axis=cut,
        index=_fullest(mask, cut),
        transposed=row_axis > column_axis,
        flips=flips,
        spacing=(float(spacing[row_axis]), float(spacing[column_axis])),
        letters=(top, bottom, *LETTERS[patient[column_axis]]),
    )


def _fullest(mask: np.ndarray, axis: int) -> int:
    """The slice with most of the mask, the middle one where there is none."""
    others = tuple(other for other in range(3) if other != axis)
    counts = np.count_nonzero(mask, axis=others)
    return int(counts.argmax()) if counts.any() else mask.shape[axis] // 2
