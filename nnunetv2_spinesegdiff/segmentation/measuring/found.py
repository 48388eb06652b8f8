"""The canal, discs and vertebral bodies of a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...labels import CLASSES, VERTEBRAE
from .canal import mended
from .course import Course, course_of_canal, course_of_discs
from .parts import SMALLEST_MM2, Part, bodies_of, components, discs_of
from .shapes import Shape
from .sizes import fitted, neighbours


@dataclass(frozen=True)
class Found:
    """The canal, discs and vertebral bodies of a mask.

    Attributes:
        canal: its label without small parts.
        mended_canal: the same without holes and small gaps.
        course: line along the spine; None if neither canal nor discs were found.
        from_canal: whether the course follows the canal.
        discs: lowest first; empty without a course.
        bodies: lowest first; empty without a course.
        parts: number of connected parts of each structure.
        crumbs: number of parts of each structure that are too small and are ignored.
        stray: number of large parts of the discs' label that belong to no disc.
    """

    canal: Shape
    mended_canal: Shape
    course: Course | None
    from_canal: bool
    discs: list[Part]
    bodies: list[Part]
    parts: dict[str, int]
    crumbs: dict[str, int]
    stray: int


def find(mask: np.ndarray, spacing: tuple[float, float]) -> Found:
    """Find the canal, discs and bodies of a mask (H, W) of labels; spacing is (row, column) in mm."""
    large = {name: components(mask == CLASSES[name], spacing, least) for name, least in SMALLEST_MM2.items()}
    canal = np.zeros(mask.shape, dtype=bool)
    for shape in large["spinal_canal"][0]:
        canal |= shape.inside
    of_canal = course_of_canal(canal, spacing)
    course = of_canal or course_of_discs(large["ivd"][0])
    discs, stray = discs_of(large["ivd"][0], course) if course else ([], 0)
    bodies = bodies_of(mask == VERTEBRAE, spacing, course, discs) if course else []
    return Found(
        canal=Shape(canal, spacing),
        mended_canal=mended(Shape(canal, spacing)),
        course=course,
        from_canal=of_canal is not None,
        discs=[fitted(disc, neighbours(disc, discs, bodies)) for disc in discs],
        bodies=bodies,
        parts={name: len(shapes) for name, (shapes, _) in large.items()},
        crumbs={name: crumbs for name, (_, crumbs) in large.items()},
        stray=stray,
    )
