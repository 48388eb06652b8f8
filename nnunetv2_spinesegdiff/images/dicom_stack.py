"""Slices of a DICOM series as one grid, and refused where they are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .dicom_files import DicomSlice
from .refusal import Refusal
from .shear import MAX_SHEAR_DEG, ROUNDING_DEG

MAX_OFF_MM = 0.1
"""How far a slice may lie from its place in an even stack."""

_ROUNDING = 1e-3
_AGAIN = "export the series again"


@dataclass(frozen=True)
class Stack:
    """Slices in the order of their places along the normal.

    Attributes:
        order: indices of the slices that were given.
        apart_mm: distance between neighbors along the normal; NaN for a single slice.
        warnings: what a reader of the results should know.
    """

    order: tuple[int, ...]
    apart_mm: float
    warnings: tuple[str, ...] = ()


def refuse_unplaced(slices: Sequence[DicomSlice]) -> None:
    """Refuse slices whose place or size in the patient is not given.

    Raises:
        Refusal: one has no position or orientation, or no PixelSpacing: that of the detector
            (ImagerPixelSpacing) is not the patient's.
    """
    if any(one.orientation is None or one.position is None for one in slices):
        raise Refusal("its slices do not say where in the patient they lie; use the original images")
    unmeasured = next((one for one in slices if one.spacing is None), None)
    if unmeasured is not None:
        raise Refusal(
            f"{unmeasured.name} has no PixelSpacing, so nothing in it has a size in mm: use the originals"
        )


def stack(positions: np.ndarray, normal: np.ndarray, names: Sequence[str]) -> Stack:
    """The order of parallel slices, checked to be a volume.

    Args:
        positions: (n, 3), LPS in mm of the first voxel of each slice.
        normal: (3,), unit vector at right angles to the slices.
        names: what each slice is called in a message.

    Raises:
        Refusal: two slices have the same place, one lies more than 0.1 mm from its place in an even stack, or
            the slices do not lie straight above each other.
    """
    places = positions @ normal
    order = np.argsort(places, kind="stable")
    if len(order) < 2:
        return Stack((0,), float("nan"))
    places = places[order]
    _refuse_same_place(np.diff(places), [names[k] for k in order])
    _refuse_uneven(places, [names[k] for k in order])
    apart = float(places[-1] - places[0]) / (len(places) - 1)
    return Stack(tuple(order.tolist()), apart, _sideways(positions[order], places, normal))


def _refuse_same_place(steps: np.ndarray, names: Sequence[str]) -> None:
    same = np.flatnonzero(steps <= max(_ROUNDING, _ROUNDING * float(np.median(steps))))
    if same.size:
        k = int(same[0])
        raise Refusal(
            f"its slices {names[k]} and {names[k + 1]} lie at the same place, one of {same.size} such pairs "
            "(duplicates, several echoes or time points): export each volume as a series of its own"
        )


def _refuse_uneven(places: np.ndarray, names: Sequence[str]) -> None:
    off = places - np.linspace(places[0], places[-1], len(places))
    if np.abs(off).max() > MAX_OFF_MM:
        steps = np.diff(places)
        usual = float(np.median(steps))
        k = int(steps.argmax() if steps.max() - usual >= usual - steps.min() else steps.argmin())
        raise Refusal(
            f"its slices are not evenly spaced, {steps[k]:.2f} mm after slice {k + 1} ({names[k]}) and "
            f"{usual:.2f} mm elsewhere: is one missing? {_AGAIN.capitalize()}"
        )


def _sideways(positions: np.ndarray, places: np.ndarray, normal: np.ndarray) -> tuple[str, ...]:
    """Warnings of slices that lean over; refuses those that lean much or lie out of line."""
    along = (positions[-1] - positions[0]) / (places[-1] - places[0])
    off_line = positions - (positions[0] + (places - places[0])[:, None] * along)
    aside = off_line - (off_line @ normal)[:, None] * normal
    lean = float(np.degrees(np.arccos(np.clip(1 / np.linalg.norm(along), -1, 1))))
    if np.linalg.norm(aside, axis=1).max() > MAX_OFF_MM:
        raise Refusal(f"its slices do not lie in one line: {_AGAIN}")
    if lean > MAX_SHEAR_DEG:
        raise Refusal(
            f"its slices lean over by {lean:.1f} degrees (tilted stack): resample it to a grid without shear"
        )
    if lean > ROUNDING_DEG:
        return (f"the slices lean over by {lean:.2f} degrees; taken for upright",)
    return ()
