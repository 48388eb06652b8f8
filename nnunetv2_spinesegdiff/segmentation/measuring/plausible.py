"""Comparison of a segmented sagittal slice with the anatomy of a spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...labels import BACKGROUND, CLASSES, IVD, SPINAL_CANAL, VERTEBRAE
from .course import STEP_MM, course_of_column
from .parts import components
from .shapes import Shape

NO_COLUMN = "no column"
SIZE = "size"
CANAL_IN_FRONT = "canal in front"

SMALLEST_MM2 = 20.0
"""Smallest area of a part outside of the spine that is warned about."""

_WHERE_MM = {"spinal_canal": (-80.0, -5.0), "vertebrae": (-90.0, 22.0), "ivd": (-40.0, 22.0)}
"""Range of the center of a part, from behind the column's middle line (negative) to in front of it.

On SPIDER's masks, vertebral parts are centered 69 mm behind the line (spinous processes) to 18 mm in front of
it, discs from 26 mm behind to 18 mm in front, and canals from 52 to 15 mm behind.
"""
_FARTHEST_MM = 50.0
_DISC_GAP_MM = 20.0
_FEWEST_ON_LINE = 3
_THINNEST_MM = 3.0
_SHORTEST_MM = 70.0
_LEAST_FILLED = 0.3
_CANAL_CROSSED_MM = 5.0
_SMALLEST_SPINE_MM2 = 500.0
_SMALLEST_WITH_BODIES_MM2 = 2500.0
_WIDEST_MM = 100.0


@dataclass(frozen=True)
class OutsidePart:
    """A connected part outside of the spine.

    Attributes:
        structure: its name in `labels.CLASSES`.
        shape: its pixels; `shape.area` is in mm², `shape.centre` in mm down and back from pixel (0, 0).
    """

    structure: str
    shape: Shape


@dataclass(frozen=True)
class Plausibility:
    """The result of a comparison with the anatomy of a spine.

    Attributes:
        reasons: why the whole mask is not a sagittal lumbar slice: NO_COLUMN, SIZE or CANAL_IN_FRONT.
        outside: parts that do not belong to the spine; empty if there are reasons, or if bodies are missing.
    """

    reasons: list[str]
    outside: list[OutsidePart]


def check_plausibility(
    mask: np.ndarray, spacing: tuple[float, float], smallest: float = SMALLEST_MM2
) -> Plausibility:
    """Compare a mask with the anatomy of a sagittal slice.

    Vertebral bodies and discs form one column that leans by 45 degrees at most, with the canal behind it. A
    part is outside if its center is too far in front of or behind the column's middle line, if nothing
    connects it with the spine in steps of 50 mm or less, or if it is a disc more than 20 mm away from every
    vertebra. Hernias, slips, an interrupted canal, posterior elements, the sacrum and missing discs are
    within these limits. Slices next to the vertebral bodies show processes only and are not compared.

    Args:
        mask: (H, W) labels, rows from head to foot, columns from front to back.
        spacing: (row, column) in mm.
        smallest: area in mm² of the smallest part that is returned.

    Returns:
        The reasons and the parts; two empty lists for a plausible mask.
    """
    found = course_of_column(mask, spacing)
    if found is None or not _is_column(found[1]):
        return Plausibility([NO_COLUMN], [])
    course, on_line = found
    spine = Shape(mask != BACKGROUND, spacing)
    reasons = []
    if not _SMALLEST_SPINE_MM2 <= spine.area <= _WIDEST_MM * len(on_line) * STEP_MM:
        reasons.append(SIZE)
    ahead = np.full(mask.shape, np.nan)
    ahead[spine.inside] = course.locate(spine.pixels)[1]
    canal = mask == SPINAL_CANAL
    if canal.any() and np.median(ahead[canal]) > 0:
        reasons.append(CANAL_IN_FRONT)
    judged = not reasons and spine.area >= _SMALLEST_WITH_BODIES_MM2
    return Plausibility(reasons, _outside(mask, spacing, ahead, smallest) if judged else [])


def without_outside_parts(
    mask: np.ndarray, spacing: tuple[float, float], smallest: float = SMALLEST_MM2
) -> np.ndarray:
    """Return a copy of a mask without the parts outside of the spine; see `check_plausibility`."""
    cleaned = mask.copy()
    for part in check_plausibility(mask, spacing, smallest).outside:
        cleaned[part.shape.inside] = BACKGROUND
    return cleaned


def _is_column(on_line: np.ndarray) -> bool:
    """Check whether the labels (n,) along a line, one per mm, are those of a column of bodies and discs."""
    starts = np.flatnonzero(np.diff(on_line, prepend=BACKGROUND))
    lengths = np.diff(starts, append=len(on_line)) * STEP_MM
    of_column = np.isin(on_line, (VERTEBRAE, IVD))
    parts = (of_column[starts] & (lengths >= _THINNEST_MM)).sum()
    return bool(
        parts >= _FEWEST_ON_LINE
        and len(on_line) * STEP_MM >= _SHORTEST_MM
        and of_column.mean() >= _LEAST_FILLED
        and (on_line == SPINAL_CANAL).sum() * STEP_MM < _CANAL_CROSSED_MM
    )


def _outside(
    mask: np.ndarray, spacing: tuple[float, float], ahead: np.ndarray, smallest: float
) -> list[OutsidePart]:
    connected = _connected(mask, spacing)
    from_vertebrae = ndimage.distance_transform_edt(mask != VERTEBRAE, sampling=spacing)
    parts = []
    for structure, (rearmost, foremost) in _WHERE_MM.items():
        for shape in components(mask == CLASSES[structure], spacing, smallest)[0]:
            in_place = rearmost <= ahead[shape.inside].mean() <= foremost
            alone = structure == "ivd" and from_vertebrae[shape.inside].min() > _DISC_GAP_MM
            if alone or not in_place or not connected[shape.inside].any():
                parts.append(OutsidePart(structure, shape))
    return parts


def _connected(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Find the largest part of the mask as bool (H, W). Gaps of up to 50 mm are bridged."""
    gaps = ndimage.distance_transform_edt(mask == BACKGROUND, sampling=spacing)
    clusters = ndimage.label(gaps <= _FARTHEST_MM / 2)[0]
    return clusters == np.bincount(clusters[mask != BACKGROUND]).argmax()
