"""Single vertebrae and discs from the classes of a mask, counted from the lowest disc."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ...labels import IVD, VERTEBRAE
from .ladder import SPECK_MM2, Ladder, disc_pieces, find_ladder, rung_of
from .shapes import Shape

_NEAR_LEVEL = 0.5
_MUCH_DISC = 0.6
_LOWER_BEHIND = ((0.0, 15.0, 30.0, 60.0), (0.0, 0.1, 0.45, 0.6))
"""How far below its body a posterior element is, in pitches, at a distance in mm behind the bodies."""


@dataclass(frozen=True)
class Instances:
    """
    Attributes:
        discs: (n, H, W) int: 1 is the lowest disc, 0 is none.
        vertebrae: (n, H, W) int: 1 is what is below the lowest disc, 2 is the vertebra above it.
        ladder: of the slice in which they were counted; None if the mask has no column.
        reference: that slice.
    """

    discs: np.ndarray
    vertebrae: np.ndarray
    ladder: Ladder | None
    reference: int


def find_instances(mask: np.ndarray, spacing: tuple[float, float]) -> Instances:
    """Tell the vertebrae and discs of a mask apart, and count them upward.

    Levels are counted in the slice with the most discs and followed from slice to slice from there. A
    posterior element belongs to the vertebra that it is connected with, or to the one that it hangs from.
    Connected parts of less than 10 mm² in a slice are not counted.

    Args:
        mask: (n, H, W) labels of sagittal slices, rows from head to foot, columns from front to back.
        spacing: (row, column) in mm.
    """
    discs, vertebrae = np.zeros(mask.shape, dtype=int), np.zeros(mask.shape, dtype=int)
    reference, ladder = _reference(mask, spacing)
    if ladder is None:
        return Instances(discs, vertebrae, None, reference)
    above, below = range(reference, len(mask)), range(reference - 1, -1, -1)
    for slices in (above, below):
        followed = ladder
        for at in slices:
            if at != reference:
                followed = _followed(followed, mask[at], spacing)
            discs[at] = _number_discs(mask[at], spacing, followed)
            vertebrae[at] = _number_vertebrae(mask[at], spacing, followed)
    return Instances(discs, vertebrae, ladder, reference)


def _reference(mask: np.ndarray, spacing: tuple[float, float]) -> tuple[int, Ladder | None]:
    """The slice with the most discs, and among these the one with the largest, with its ladder."""
    areas = (mask == IVD).sum(axis=(1, 2))
    candidates = np.flatnonzero(areas >= _MUCH_DISC * areas.max())
    ladders = {int(at): find_ladder(mask[at], spacing) for at in candidates}

    def discs(at: int) -> tuple[int, int]:
        ladder = ladders[at]
        return (sum(rung.found for rung in ladder.rungs) if ladder else -1, int(areas[at]))

    reference = max(ladders, key=discs)
    return reference, ladders[reference]


def _followed(ladder: Ladder, mask: np.ndarray, spacing: tuple[float, float]) -> Ladder:
    """The ladder of the next slice: each plane moves to the discs near it, and new ones can be on top."""
    pieces = disc_pieces(mask, spacing, ladder.course)
    levels = [_nearest(ladder, piece) for piece in pieces]
    rungs = []
    for number, rung in enumerate(ladder.rungs):
        mine = [piece for piece, level in zip(pieces, levels, strict=True) if level == number]
        rungs.append(rung_of(mine, ladder.course, rung.along) if mine else rung)
    beyond = [piece for piece, level in zip(pieces, levels, strict=True) if level is None]
    for piece in sorted(beyond, key=lambda piece: -piece.centre[0]):
        if not rungs or rungs[-1].above(piece.centre[None])[0] > _NEAR_LEVEL * ladder.pitch:
            rungs.append(rung_of([piece], ladder.course, 0.0))
    return replace(ladder, rungs=rungs)


def _nearest(ladder: Ladder, piece: Shape) -> int | None:
    """The plane of a disc's piece; None if no plane is near."""
    away = [abs(rung.above(piece.centre[None])[0]) for rung in ladder.rungs]
    if not away or min(away) > _NEAR_LEVEL * ladder.pitch:
        return None
    return int(np.argmin(away))


def _number_discs(mask: np.ndarray, spacing: tuple[float, float], ladder: Ladder) -> np.ndarray:
    """Numbers (H, W) of a slice's discs from 1. Each piece belongs to the plane nearest to it."""
    numbers = np.zeros(mask.shape, dtype=int)
    for piece in disc_pieces(mask, spacing, ladder.course):
        away = [np.abs(rung.above(piece.pixels)).mean() for rung in ladder.rungs]
        numbers[piece.inside] = int(np.argmin(away)) + 1 if away else 1
    return numbers


def _number_vertebrae(mask: np.ndarray, spacing: tuple[float, float], ladder: Ladder) -> np.ndarray:
    """Numbers (H, W) of a slice's vertebrae from 1, which is below the lowest plane.

    The bodies are cut along the planes. From the bodies the numbers spread to what is connected with them,
    and meet where that is narrowest. A part that is connected with no body is numbered by its place.
    """
    from skimage.segmentation import watershed  # takes a second to load

    bone = _without_specks(mask == VERTEBRAE, spacing)
    numbers = np.zeros(mask.shape, dtype=int)
    if not bone.any():
        return numbers
    shape = Shape(bone, spacing)
    _, ahead = ladder.course.locate(shape.pixels)
    level = 1 + sum((rung.above(shape.pixels) > 0).astype(int) for rung in ladder.rungs)
    numbers[bone] = np.where(ahead > -ladder.wall, level, 0)
    parts, count = ndimage.label(bone)
    connected = np.unique(parts[numbers > 0])
    depth = ndimage.distance_transform_edt(bone, sampling=spacing)
    numbers = watershed(-depth, numbers, mask=bone & np.isin(parts, connected))
    for part in np.setdiff1d(np.arange(1, count + 1), connected):
        numbers[parts == part] = 1 + _planes_below(Shape(parts == part, spacing), ladder)
    return np.asarray(numbers, dtype=int)


def _without_specks(inside: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    parts = ndimage.label(inside)[0]
    areas = np.bincount(parts.ravel()) * spacing[0] * spacing[1]
    return np.asarray(inside & (areas >= SPECK_MM2)[parts])


def _planes_below(part: Shape, ladder: Ladder) -> int:
    """How many disc planes are below the vertebra that a posterior element hangs from."""
    along, ahead = (float(values[0]) for values in ladder.course.locate(part.centre[None]))
    lower = np.interp(-ahead - ladder.wall, *_LOWER_BEHIND) * ladder.pitch
    return sum(bool(rung.along < along + lower) for rung in ladder.rungs)
