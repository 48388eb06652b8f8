"""What a mask holds: its canal, discs and bodies, and what was left out."""

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
    """
    Attributes:
        canal: all of its label but crumbs; mended_canal: without holes and tiny gaps.
        course: the spine's; None if neither canal nor discs show it. from_canal: whether the canal does.
        discs, bodies: lowest first; none without a course.
        parts, crumbs: by structure, how many connected parts there are, and how many smaller ones.
        stray: how many large parts of the discs' label belong to no disc.
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
    """Take a mask (H, W) of labels apart; spacing is (row, column) in mm."""
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
