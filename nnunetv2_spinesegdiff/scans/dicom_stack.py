"""Slices of a DICOM series as one volume: in order, and refused where they are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .dicom_files import DicomImage
from .refusal import Refusal
from .shear import MAX_SHEAR_DEG, ROUNDING_DEG

MAX_UNEVEN = 0.1
"""Part of the distance between slices by which a single distance may differ from it."""

_ROUNDING = 1e-3
_AGAIN = "export the series again"


@dataclass(frozen=True)
class Stack:
    """Slices in the order of their places along the normal.

    Attributes:
        order: indices of the slices that were given.
        apart_mm: distance between neighbours along the normal, the median; NaN for a single slice.
        warnings: what a reader of the results should know.
    """

    order: tuple[int, ...]
    apart_mm: float
    warnings: tuple[str, ...] = ()


def refuse_mixed(images: Sequence[DicomImage]) -> None:
    """Refuse slices that are not of one volume.

    Raises:
        Refusal: their orientation, size, spacing or echo differs, or their place is not told.
    """
    if any(image.orientation is None or image.position is None for image in images):
        raise Refusal("its slices do not say where in the patient they lie; use the original images")
    for what, of in _SAME.items():
        values = [of(image) for image in images]
        other = next((n for n, value in enumerate(values) if not _alike(value, values[0])), None)
        if other is not None:
            raise Refusal(
                f"its slices differ in {what}: {_words(values[0])} in {images[0].name}, "
                f"{_words(values[other])} in {images[other].name}; export each volume as a series of its own"
            )


def stack(positions: np.ndarray, normal: np.ndarray, names: Sequence[str]) -> Stack:
    """The order of parallel slices, checked to be a volume.

    Args:
        positions: (n, 3), LPS in mm of the first voxel of each slice.
        normal: (3,), unit vector at right angles to the slices.
        names: what each slice is called in a message.

    Raises:
        Refusal: two slices have the same place, distances are uneven by more than 10 %, or the slices do not
            lie straight above each other.
    """
    places = positions @ normal
    order = np.argsort(places, kind="stable")
    if len(order) < 2:
        return Stack((0,), float("nan"))
    steps = np.diff(places[order])
    usual = float(np.median(steps))
    _refuse_same_place(steps, usual, [names[k] for k in order])
    _refuse_uneven(steps, usual, [names[k] for k in order])
    return Stack(tuple(order.tolist()), usual, _sideways(positions[order], places[order], normal))


def _refuse_same_place(steps: np.ndarray, usual: float, names: Sequence[str]) -> None:
    same = np.flatnonzero(steps <= max(_ROUNDING, _ROUNDING * usual))
    if same.size:
        k = int(same[0])
        raise Refusal(
            f"its slices {names[k]} and {names[k + 1]} lie at the same place, one of {same.size} such pairs "
            "(duplicates, several echoes or time points): export each volume as a series of its own"
        )


def _refuse_uneven(steps: np.ndarray, usual: float, names: Sequence[str]) -> None:
    uneven = np.abs(steps - usual) > MAX_UNEVEN * usual
    if uneven.any():
        k = int(np.argmax(np.where(uneven, steps, -1)))
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
    if np.linalg.norm(aside, axis=1).max() > 1:
        raise Refusal(f"its slices do not lie in one line: {_AGAIN}")
    if lean > MAX_SHEAR_DEG:
        raise Refusal(
            f"its slices lean over by {lean:.1f} degrees (tilted stack): resample it to a grid without shear"
        )
    if lean > ROUNDING_DEG:
        return (f"the slices lean over by {lean:.2f} degrees; taken for upright",)
    return ()


def _alike(a: object, b: object) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return bool(np.allclose(np.asarray(a), np.asarray(b), rtol=_ROUNDING, atol=_ROUNDING))


def _words(value: object) -> str:
    numbers = value if isinstance(value, tuple) else (value,)
    return " x ".join(n if isinstance(n, str) else f"{n:g}" for n in numbers)


def _echo(image: DicomImage) -> str | float:
    try:
        return float(image.echo)
    except ValueError:
        return image.echo


_SAME: dict[str, Callable[[DicomImage], object]] = {
    "orientation": lambda image: image.orientation,
    "size": lambda image: tuple(map(float, image.size)),
    "spacing": lambda image: image.spacing,
    "echo": _echo,
}
