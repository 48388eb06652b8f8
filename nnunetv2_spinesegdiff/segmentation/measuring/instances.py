"""Single vertebrae and discs from the classes of a mask, counted from the lowest disc."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from ...labels import IVD, VERTEBRAE
from .ladder import SPECK_MM2, Ladder, disc_pieces, find_ladder, rung_of
from .shapes import Shape

_NEAR_LEVEL = 0.5
_MUCH_DISC = 0.6
_OVER_PLANE = 0.15
"""Usual height of a posterior element above the plane of the disc below its vertebra, in pitches. On SPIDER's
T2_SPACE series it is -0.1 to 0.6."""
_APART = 0.4
_TALL_PART, _SEEDS_APART = 0.75, 0.25
_SAME_VERTEBRA_COST = 0.5


@dataclass(frozen=True)
class Instances:
    """Numbered discs and vertebrae of a stack of slices.

    Attributes:
        discs: (n, H, W) int: 1 is the lowest disc, 0 is not a disc.
        vertebrae: (n, H, W) int: 1 is bone below the lowest disc, 2 is the vertebra above it.
        ladder: disc planes of the reference slice; None if the mask has no column of vertebrae and discs.
        reference: number of the slice in which levels were counted.
    """

    discs: np.ndarray
    vertebrae: np.ndarray
    ladder: Ladder | None
    reference: int


def find_instances(mask: np.ndarray, spacing: tuple[float, float]) -> Instances:
    """Separate the vertebrae and discs of a mask, and count them upward.

    Levels are counted in the slice with the most discs and followed from slice to slice from there. A
    posterior element belongs to the vertebra that it is connected with. A separate one is assigned by its
    height. Connected parts of less than 10 mm² in a slice are not counted.

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
    """Find the slice with the most discs, and its ladder. Of several, take the one with the largest."""
    areas = (mask == IVD).sum(axis=(1, 2))
    candidates = np.flatnonzero(areas >= _MUCH_DISC * areas.max())
    ladders = {int(at): find_ladder(mask[at], spacing) for at in candidates}

    def discs(at: int) -> tuple[int, int]:
        ladder = ladders[at]
        return (sum(rung.found for rung in ladder.rungs) if ladder else -1, int(areas[at]))

    reference = max(ladders, key=discs)
    return reference, ladders[reference]


def _followed(ladder: Ladder, mask: np.ndarray, spacing: tuple[float, float]) -> Ladder:
    """Find the ladder of the next slice. Planes move to the discs near them, and can be added at the top."""
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
    """Find the number of the plane nearest to a piece of a disc; None if it is too far away."""
    away = [abs(rung.above(piece.centre[None])[0]) for rung in ladder.rungs]
    if not away or min(away) > _NEAR_LEVEL * ladder.pitch:
        return None
    return int(np.argmin(away))


def _number_discs(mask: np.ndarray, spacing: tuple[float, float], ladder: Ladder) -> np.ndarray:
    """Number the discs of a slice (H, W) from 1. Each piece belongs to the nearest plane."""
    numbers = np.zeros(mask.shape, dtype=int)
    for piece in disc_pieces(mask, spacing, ladder.course):
        away = [np.abs(rung.above(piece.pixels)).mean() for rung in ladder.rungs]
        numbers[piece.inside] = int(np.argmin(away)) + 1 if away else 1
    return numbers


def _number_vertebrae(mask: np.ndarray, spacing: tuple[float, float], ladder: Ladder) -> np.ndarray:
    """Number the vertebrae of a slice (H, W) from 1, which is below the lowest plane.

    The bodies are cut along the planes. Their numbers spread to the bone that is connected with them, and
    meet where it is narrowest. A part that is not connected with a body is numbered by its position.
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
    separate = np.setdiff1d(np.arange(1, count + 1), connected)
    lone = [piece for part in separate for piece in _apart(Shape(parts == part, spacing), depth, ladder)]
    for lone_part, below in zip(lone, _planes_below(lone, ladder), strict=True):
        numbers[lone_part.inside] = 1 + below
    return np.asarray(numbers, dtype=int)


def _apart(part: Shape, depth: np.ndarray, ladder: Ladder) -> list[Shape]:
    """Split a posterior part into several pieces if it is as high as two that touch each other.

    Args:
        depth: (H, W), distance in mm from the edge of the bone.
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    up = -ladder.course.tangents.mean(axis=0)
    if np.ptp(part.pixels @ up) < _TALL_PART * ladder.pitch:
        return [part]
    steps = max(int(_SEEDS_APART * ladder.pitch / max(part.spacing)), 1)
    peaks = peak_local_max(depth, min_distance=steps, labels=part.inside.astype(int), exclude_border=False)
    seeds = np.zeros(depth.shape, dtype=int)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    pieces = watershed(-depth, seeds, mask=part.inside)
    return [Shape(pieces == number, part.spacing) for number in range(1, len(peaks) + 1)]


def _without_specks(inside: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    parts = ndimage.label(inside)[0]
    areas = np.bincount(parts.ravel()) * spacing[0] * spacing[1]
    return np.asarray(inside & (areas >= SPECK_MM2)[parts])


def _planes_below(parts: list[Shape], ladder: Ladder) -> list[int]:
    """Count the disc planes below the vertebra of each posterior element.

    An element is at the height of the disc below its vertebra or a little higher. Two elements above each
    other belong to two vertebrae, as far as possible.
    """
    if not parts or not ladder.rungs:
        return [0] * len(parts)
    centers = np.array([part.centre for part in parts])
    heights = np.stack([rung.above(centers) for rung in ladder.rungs], axis=1) / ladder.pitch
    heights = np.concatenate([heights[:, :1] + 1, heights], axis=1)
    order = np.argsort(heights.mean(axis=1))
    costs = (heights - _OVER_PLANE) ** 2
    if not ladder.body_below:
        costs[:, 0] = np.inf
    total, before = costs[order[0]], []
    for lower, part in pairwise(order):
        apart = abs(heights[part].mean() - heights[lower].mean()) >= _APART
        moves = total[:, None] + np.where(np.eye(len(total), dtype=bool), _SAME_VERTEBRA_COST * apart, 0.0)
        moves[np.tril_indices(len(total), -1)] = np.inf
        before.append(moves.argmin(axis=0))
        total = moves.min(axis=0) + costs[part]
    levels = [int(total.argmin())]
    for choice in before[::-1]:
        levels.append(int(choice[levels[-1]]))
    chosen = np.empty(len(parts), dtype=int)
    chosen[order] = levels[::-1]
    return [int(level) for level in chosen]
