"""The discs and vertebral bodies of a mask, lowest first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from .course import Course
from .shapes import Frame, Profile, Shape, fit_frame

SMALLEST_MM2 = {"spinal_canal": 30.0, "vertebrae": 130.0, "ivd": 30.0}
"""Smallest area of a part. Smaller parts are ignored.

A collapsed disc of the lower thoracic spine, 2 mm by 27 mm, has about 55 mm². The smallest body of a lumbar
scan, of T10, has about 20 mm by 27 mm. A disc can therefore lose half of its area in the mask, and a body
three quarters. In a canal 10 mm deep, 30 mm² are a piece of 3 mm.
"""

_THICKEST_DISC_MM = 25.0
_APART_BINS = 10
_SAME_MM = 10.0
_SHORTEST_DISC_MM = 12.0


@dataclass(frozen=True, eq=False)
class Part:
    """A disc, or the body of a vertebra.

    Attributes:
        shape: its pixels.
        profile: its height along its own middle line.
        along: mm upward along the spine.
    """

    shape: Shape
    profile: Profile
    along: float

    @property
    def frame(self) -> Frame:
        return self.profile.frame

    @cached_property
    def core(self) -> np.ndarray:
        """Points (n, 2) in mm of the part without its thin ends (`Profile.extent`)."""
        back = self.frame.local(self.shape.points)[0]
        front, rear = self.profile.extent()
        return self.shape.points[(back >= front) & (back <= rear)]


def components(inside: np.ndarray, spacing: tuple[float, float], smallest: float) -> tuple[list[Shape], int]:
    """Find connected parts (over edges, not corners) of at least `smallest` mm², and count smaller ones."""
    labels, count = ndimage.label(inside)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] * spacing[0] * spacing[1]
    large = np.flatnonzero(areas >= smallest) + 1
    return [Shape(labels == label, spacing) for label in large], count - len(large)


def discs_of(shapes: list[Shape], course: Course) -> tuple[list[Part], int]:
    """Find the discs among the parts of their label, lowest first, and count the parts that belong to none.

    Two discs that a thin bridge joins are split. Pieces of a disc at one height of the spine, such as a
    herniation that is separate in the mask, are joined. A part is not a disc if it is located behind the
    middle of the canal, or if it is shorter from front to back than a third of a disc.
    """
    pieces = [piece for shape in shapes for piece in split(shape, course)]
    ahead = [piece for piece in pieces if course.locate(piece.centre[None])[1][0] > 0]
    groups = _at_one_height(ahead, course)
    discs = [group for group in groups if np.ptp(course.locate(_union(group).pixels)[1]) >= _SHORTEST_DISC_MM]
    left_out = len(pieces) - sum(map(len, discs))
    return _from_below([_part(_union(group), course) for group in discs]), left_out


def bodies_of(
    inside: np.ndarray, spacing: tuple[float, float], course: Course, discs: list[Part]
) -> list[Part]:
    """Find the vertebral bodies, lowest first.

    The label also holds the posterior elements. A body is the part in front of the middle of the canal. A
    bridge to a spinous process is cut there. Bodies that touch each other are cut along the middle line of
    the disc between them.
    """
    whole = Shape(inside, spacing)
    if not len(whole.pixels):
        return []
    front = np.zeros(inside.shape, dtype=bool)
    front[inside] = course.locate(whole.pixels)[1] > 0
    least = SMALLEST_MM2["vertebrae"]
    pieces = [piece for shape in components(front, spacing, least)[0] for piece in _cut(shape, discs, least)]
    return _from_below([_part(_union(group), course) for group in _at_one_height(pieces, course)])


def _cut(shape: Shape, discs: list[Part], least: float) -> list[Shape]:
    """Cut a connected part into bodies, one between two discs. A piece below `least` mm² is not a body."""
    level = np.zeros(len(shape.pixels), dtype=int)
    for disc in discs:
        level += disc.frame.local(shape.pixels)[1] > 0
    large = np.flatnonzero(np.bincount(level) * shape.area_of_pixel >= least)
    if len(large) < 2:
        return [shape]
    return _by_number(shape, np.abs(level[:, None] - large).argmin(axis=1), len(large))


def _by_number(shape: Shape, numbers: np.ndarray, count: int) -> list[Shape]:
    pieces = []
    for number in range(count):
        inside = np.zeros_like(shape.inside)
        inside[shape.inside] = numbers == number
        pieces.append(Shape(inside, shape.spacing))
    return pieces


def _part(shape: Shape, course: Course) -> Part:
    along = float(course.locate(shape.centre[None])[0][0])
    return Part(shape, fit_frame(shape, course.up_at(shape.centre)), along)


def _from_below(parts: list[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: part.along)


def _at_one_height(pieces: list[Shape], course: Course) -> list[list[Shape]]:
    """Group pieces within 10 mm of the next one along the spine. Discs and bodies are 20 mm apart."""
    ordered = sorted((float(course.locate(piece.centre[None])[0][0]), n) for n, piece in enumerate(pieces))
    groups: list[list[Shape]] = []
    last = -np.inf
    for along, number in ordered:
        if along - last >= _SAME_MM:
            groups.append([])
        groups[-1].append(pieces[number])
        last = along
    return groups


def _union(pieces: list[Shape]) -> Shape:
    return Shape(np.any([piece.inside for piece in pieces], axis=0), pieces[0].spacing)


def split(shape: Shape, course: Course) -> list[Shape]:
    """Split a part that holds several discs: wide at heights at least 10 mm apart, and thin between them."""
    along = course.locate(shape.pixels)[0]
    if np.ptp(along) < _THICKEST_DISC_MM:
        return [shape]
    bins = (along - along.min()).astype(int)
    widths = ndimage.uniform_filter1d(np.bincount(bins).astype(float), 3, mode="constant")
    wide = widths >= widths.max() / 2
    # Closing removes what touches the ends of the array.
    discs, count = ndimage.label(wide | ndimage.binary_closing(wide, np.ones(_APART_BINS)))
    if count < 2:
        return [shape]
    middles = np.array([np.flatnonzero(discs == number).mean() for number in range(1, count + 1)])
    return _by_number(shape, np.abs(bins[:, None] - middles).argmin(axis=1), count)
