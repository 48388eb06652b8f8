"""Positions of the discs of a sagittal slice along the spine, including discs that the mask does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...labels import IVD, VERTEBRAE
from .course import Course, course_of_column
from .parts import components, split
from .shapes import Shape

SPECK_MM2 = 10.0
"""Smallest area of a connected part in mm². Smaller parts are not counted and get no number."""

_PITCHES_MM = np.arange(22.0, 52.0)
_USUAL_PITCH_MM = 36.0
_PITCH_SPREAD = 0.15
_EVEN_LEVELS = 3.5
_SHORTER_PER_LEVEL = 0.07
_SHORTEST = 0.6
_GAP_SPREAD = 0.15
_NEAREST, _FARTHEST = 0.4, 3.0
_FULL_DISC_MM2 = 60.0
_DISC_SIGMA_MM = 4.0
_DISC_GAIN = 3.0
_MISSING_COST = 0.3
_THROUGH_BONE_COST = 0.7
_BAND_MM = 12.0
_SAME_LEVEL = 0.35
_BODY_BELOW_MM2 = 150.0
_BODY_BELOW_DEEP = 0.6
_LONG_DISC_MM = 15.0
_MOST_TURNED_DEG = 60.0
_SHALLOWEST_MM = 12.0
_USUAL_WALL_MM = 18.0


@dataclass(frozen=True)
class Rung:
    """The plane of a disc.

    Attributes:
        along: mm upward along the spine.
        center: (2,), mm down and back.
        up: (2,), unit vector perpendicular to the plane, towards the head.
        found: whether the mask has a disc there.
    """

    along: float
    center: np.ndarray
    up: np.ndarray
    found: bool

    def above(self, points: np.ndarray) -> np.ndarray:
        """Distance in mm of points (n, 2) from the plane, positive towards the head."""
        return (points - self.center) @ self.up


@dataclass(frozen=True)
class Ladder:
    """The spine of a slice as a sequence of disc planes.

    Attributes:
        course: the line through bodies and discs.
        rungs: lowest first.
        pitch: typical distance of two discs in the lower lumbar spine, in mm.
        wall: distance in mm from the course to the posterior wall of the bodies.
        body_below: whether a vertebral body is below the lowest disc plane.
    """

    course: Course
    rungs: list[Rung]
    pitch: float
    wall: float
    body_below: bool


def find_ladder(mask: np.ndarray, spacing: tuple[float, float]) -> Ladder | None:
    """Find the disc planes of a sagittal slice.

    The planes are the most probable ones, given the discs of the mask and the distance from disc to disc,
    which changes little from level to level. A plane is inserted where a disc is missing or two bodies are
    fused. A part that is too close to the planes above and below it is not counted as a disc.

    Args:
        mask: (H, W) labels, rows from head to foot, columns from front to back.
        spacing: (row, column) in mm.

    Returns:
        The ladder. None if the mask has no column of vertebrae and discs.
    """
    found = course_of_column(mask, spacing)
    if found is None:
        return None
    course = found[0]
    pieces = disc_pieces(mask, spacing, course)
    where = np.array([course.locate(piece.centre[None])[0][0] for piece in pieces])
    areas = np.array([piece.area for piece in pieces])
    profile = _Profile.of(mask, spacing, course)
    pitch, along = profile.best(where, areas)
    levels = np.abs(where[:, None] - along).argmin(axis=1) if len(along) else np.zeros(len(where), int)
    rungs = []
    for number, at in enumerate(along):
        near = (levels == number) & (np.abs(where - at) <= _SAME_LEVEL * pitch)
        mine = [piece for piece, chosen in zip(pieces, near, strict=True) if chosen]
        rungs.append(rung_of(mine, course, at))
    walls = [
        -course.locate(piece.pixels)[1].min()
        for piece, at in zip(pieces, where, strict=True)
        if len(along) and np.abs(at - along).min() <= _SAME_LEVEL * pitch
    ]
    wall = max(float(np.median(walls)) + 2.0, _SHALLOWEST_MM) if walls else _USUAL_WALL_MM
    return Ladder(course, rungs, pitch, wall, _has_body_below(mask, spacing, course, rungs, pitch, wall))


def _has_body_below(
    mask: np.ndarray,
    spacing: tuple[float, float],
    course: Course,
    rungs: Sequence[Rung],
    pitch: float,
    wall: float,
) -> bool:
    """Check whether the bone below the lowest plane is a body, and not a rim of the sacrum.

    On SPIDER's T2_SPACE series, rims are up to 163 mm² large and reach 0.54 pitches down.
    """
    bone = Shape(mask == VERTEBRAE, spacing)
    if not rungs or not len(bone.pixels):
        return False
    below = -rungs[0].above(bone.pixels)
    below = below[(below > 0) & (course.locate(bone.pixels)[1] > -wall)]
    large = len(below) * bone.area_of_pixel >= _BODY_BELOW_MM2
    return bool(large and below.max() >= _BODY_BELOW_DEEP * pitch)


def disc_pieces(mask: np.ndarray, spacing: tuple[float, float], course: Course) -> list[Shape]:
    """Find the connected parts of the discs in a slice. Two discs that are joined are split."""
    shapes = components(mask == IVD, spacing, SPECK_MM2)[0]
    return [piece for shape in shapes for piece in split(shape, course)]


def rung_of(pieces: Sequence[Shape], course: Course, along: float) -> Rung:
    """Find the plane of a disc from its pieces; without pieces, a plane perpendicular to the course."""
    nearest = int(np.clip(len(course.points) - 1 - round(along), 0, len(course.points) - 1))
    center, up = course.points[nearest], -course.tangents[nearest]
    if not pieces:
        return Rung(float(along), center, up, False)
    union = Shape(np.any([piece.inside for piece in pieces], axis=0), pieces[0].spacing)
    center = union.centre
    back, length = union.long_axis()
    own = np.array([-back[1], back[0]])
    if length >= _LONG_DISC_MM and own @ up >= np.cos(np.radians(_MOST_TURNED_DEG)):
        up = own
    return Rung(float(course.locate(center[None])[0][0]), center, up, True)


@dataclass(frozen=True)
class _Profile:
    """The share of vertebra along the course, in steps of 1 mm from the lower end upward.

    Attributes:
        start: position of the first step on the course.
        bone: (n,), 0 to 1, share of a band around the course that is vertebra.
    """

    start: float
    bone: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, spacing: tuple[float, float], course: Course) -> _Profile:
        column = Shape((mask == VERTEBRAE) | (mask == IVD), spacing)
        along, ahead = course.locate(column.pixels)
        banded = np.abs(ahead) <= _BAND_MM
        along, of_bone = along[banded], (mask[column.inside] == VERTEBRAE)[banded]
        start = float(np.floor(along.min()))
        filled = np.bincount((along[of_bone] - start).astype(int), minlength=int(along.max() - start) + 1)
        return cls(start, np.minimum(filled * column.area_of_pixel / (2 * _BAND_MM), 1.0))

    def best(self, where: np.ndarray, areas: np.ndarray) -> tuple[float, np.ndarray]:
        """Find the likeliest pitch and disc planes from positions and areas of disc pieces, lowest first."""
        steps = self.start + np.arange(len(self.bone))
        weights = np.minimum(areas / _FULL_DISC_MM2, 1.0)
        bumps = np.exp(-(((steps[:, None] - where) / _DISC_SIGMA_MM) ** 2) / 2)
        disc = np.minimum((bumps * weights).sum(axis=1), 1.0)
        bone = ndimage.uniform_filter1d(self.bone, 3)
        gain = _DISC_GAIN * disc - _MISSING_COST - _THROUGH_BONE_COST * bone
        levels = np.arange(len(gain)) / _PITCHES_MM[:, None]
        shorter = 1 - _SHORTER_PER_LEVEL * np.maximum(levels - _EVEN_LEVELS, 0)
        pitches = _PITCHES_MM[:, None] * np.maximum(shorter, _SHORTEST)
        unusual = (np.log(_PITCHES_MM / _USUAL_PITCH_MM) / _PITCH_SPREAD) ** 2 / 2
        best, planes = _best_planes(gain, pitches, unusual)
        return float(_PITCHES_MM[best]), steps[planes]


def _best_planes(gain: np.ndarray, pitches: np.ndarray, unusual: np.ndarray) -> tuple[int, list[int]]:
    """Find the best pitch and planes.

    Args:
        gain: (n,), gain of a plane at every position.
        pitches: (m, n), every assumed pitch at every position.
        unusual: (m,), cost of every assumed pitch.

    Returns:
        The number of the pitch, and the positions of the planes, lowest first.
    """
    assumed, count = pitches.shape
    rows, places, logs = np.arange(assumed), np.arange(count), np.log(pitches)
    distances, lowest = np.log(np.arange(1, count + 1)), _cost_of_end(places / pitches[:, :1])
    total, before = np.empty((assumed, count)), np.full((assumed, count), -1)
    nearest = max(int(_NEAREST * pitches.min()), 1)
    farthest = int(_FARTHEST * pitches.max())
    for place in range(count):
        total[:, place] = gain[place] - lowest[:, place]
        lower = places[max(place - farthest, 0) : max(place - nearest, 0)]
        if len(lower):
            gaps = distances[place - lower - 1] - logs[:, lower]
            scores = gain[place] + total[:, lower] - _cost_of_gap(gaps)
            best = scores.argmax(axis=1)
            better = scores[rows, best] > total[:, place]
            total[better, place] = scores[rows, best][better]
            before[better, place] = lower[best][better]
    ends = total - _cost_of_end((count - 1 - places) / pitches) - unusual[:, None]
    empty = -_cost_of_end((count - 1) / pitches[:, 0]) - unusual
    if empty.max() >= ends.max():
        return int(empty.argmax()), []
    pitch, last = np.unravel_index(ends.argmax(), ends.shape)
    planes = [int(last)]
    while before[pitch, planes[-1]] >= 0:
        planes.append(int(before[pitch, planes[-1]]))
    return int(pitch), planes[::-1]


def _cost_of_gap(logarithm: np.ndarray) -> np.ndarray:
    """Cost of the logarithm of a distance in pitches: like a normal distribution, linear far from 0."""
    off = np.abs(logarithm) / _GAP_SPREAD
    near = np.minimum(off, 1.0)
    return near * (off - near / 2)


def _cost_of_end(gap: np.ndarray) -> np.ndarray:
    """Cost of bone beyond the outermost plane, which is 0 up to a whole body."""
    return _cost_of_gap(np.log(np.maximum(gap, 1.0)))
