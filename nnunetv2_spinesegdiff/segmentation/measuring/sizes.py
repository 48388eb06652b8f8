"""Heights of bodies and discs, and the length of discs, in mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from scipy import ndimage

from .course import Course
from .parts import Part
from .shapes import Profile, central, fit_frame

_RIM_MM = 6.0
_ENDS_PERCENT = (1.0, 99.0)
_FEWEST_PIXELS = 10
_END_MM = 3.0
_CLEAR_MM = 2.0
_EVERY_POINT = 8
_MOST_TURNED_DEG = 35.0
_TALLEST_BODY = 1.4
_TALLEST_DISC = 0.8
_LEAST_COVER = 0.5


def neighbours(disc: Part, discs: Sequence[Part], bodies: Sequence[Part]) -> tuple[Part | None, Part | None]:
    """The bodies right below and right above a disc; None where there is none before the next disc."""
    below = [body for body in bodies if body.along < disc.along]
    above = [body for body in bodies if body.along > disc.along]
    lower = max((other.along for other in discs if other.along < disc.along), default=-np.inf)
    upper = min((other.along for other in discs if other.along > disc.along), default=np.inf)
    nearest_below = max(below, key=lambda body: body.along, default=None)
    nearest_above = min(above, key=lambda body: body.along, default=None)
    return (
        nearest_below if nearest_below and nearest_below.along > lower else None,
        nearest_above if nearest_above and nearest_above.along < upper else None,
    )


def looks_like_body(body: Part, course: Course) -> bool:
    """Whether a vertebra is at most 1.4 times as high as deep, and square to the spine up to 35 degrees.

    Bodies are about 0.8 times as high as deep, so two that a mask runs together are far from it. Nor does a
    whole body reach the line along the spine: that one was cut by it, where the canal is missing.
    """
    clear = course.locate(body.core[::_EVERY_POINT])[1].min() > _CLEAR_MM
    return bool(clear) and _is_square(body, course) and _slenderness(body) <= _TALLEST_BODY


def looks_like_disc(disc: Part, course: Course, bodies: Sequence[Part | None]) -> bool:
    """Whether a disc is flat, perpendicular to the spine and covers at least half of its neighbors' depth."""
    covered = all(body is None or _length(disc) >= _LEAST_COVER * _length(body) for body in bodies)
    return covered and _is_square(disc, course) and _slenderness(disc) <= _TALLEST_DISC


def _is_square(part: Part, course: Course) -> bool:
    return bool(part.frame.up @ course.up_at(part.shape.centre) >= np.cos(np.radians(_MOST_TURNED_DEG)))


def _slenderness(part: Part) -> float:
    return part.profile.height(central(part.profile.extent())) / _length(part)


def _length(part: Part) -> float:
    front, rear = part.profile.extent()
    return rear - front


def fitted(disc: Part, bodies: Sequence[Part | None]) -> Part:
    """The disc with its middle line fitted to the space between its vertebrae only."""
    profile = fit_frame(disc.shape, disc.frame.up, partial(disc_space, bodies=bodies))
    return replace(disc, profile=profile)


def disc_space(disc: Profile, bodies: Sequence[Part | None]) -> tuple[float, float]:
    """The stretch in mm back, in a disc's own frame, between the bodies' endplates.

    The edges of the endplates, bony spurs not counted, bound the space of a disc; what is beyond is a bulge
    or a herniation (Fardon et al. 2014, The Spine Journal 14, 2525-2545). On a side without a vertebra (the
    sacrum, most often) the space ends where the disc's edge leaves a straight line, for it laps over the rim
    there. Without any vertebra it is where the disc has at least half of its typical height, as well.

    Args:
        bodies: below and above, None where there is none.

    Returns:
        Its front and its rear end, in mm back of the frame's center.
    """
    own = disc.extent()
    half = disc.height(central(own)) / 2
    first, last = float(disc.edges[0]), float(disc.edges[-1])
    near = [None if body is None else _facing(disc, body, half + _RIM_MM) for body in bodies]
    for stretch in near:
        if stretch is not None:
            first, last = max(first, stretch[0]), min(last, stretch[1])
    # Bodies that hardly face each other do not bound a disc.
    if near == [None, None] or last - first < (own[1] - own[0]) / 2:
        first, last = own
    for side, stretch in zip((-1, 1), near, strict=True):
        if stretch is None:
            first, last = disc.straight((first, last), side)
    return first, last


def _facing(disc: Profile, body: Part, within: float) -> tuple[float, float] | None:
    """The stretch of a body, in mm back in the disc's frame, that is so near to the disc's axis."""
    back, up = disc.frame.local(body.core)
    near = back[np.abs(up) <= within]
    if not len(near):
        return None
    low, high = np.percentile(near, _ENDS_PERCENT)
    return float(low), float(high)


def disc_length(disc: Profile) -> float:
    """Anteroposterior length in mm of a disc, bulges and herniations included.

    It ends where the disc is half as high as within the next 3 mm: a low end of a wedge counts, but not the
    teeth that a slanted edge has in a mask.
    """
    bin_mm = float(disc.edges[1] - disc.edges[0])
    heights = np.pad(disc.areas / bin_mm, 1)
    least = ndimage.maximum_filter1d(heights, 2 * round(_END_MM / bin_mm) + 1) / 2
    high = np.flatnonzero((heights >= least) & (heights > 0))
    front = high[0] - _share(heights[high[0]], heights[high[0] - 1], least[high[0]])
    rear = high[-1] + _share(heights[high[-1]], heights[high[-1] + 1], least[high[-1]])
    return float((rear - front) * bin_mm)


def _share(inner: float, outer: float, least: float) -> float:
    """How far from one place to the next outward, 0..1, the height falls to `least`."""
    return (inner - least) / (inner - outer) if inner > outer else 0.0


def disc_signal(disc: Part, stretch: tuple[float, float], image: np.ndarray) -> float | None:
    """Mean signal over a stretch in mm back, of the image (H, W); None where it holds no pixel of the disc.

    The disc's outermost pixels share their signal with the bone, and are left out where 10 others remain.
    """
    inside = disc.shape.inside
    for pixels in (ndimage.binary_erosion(inside), inside):
        back = disc.frame.local(np.argwhere(pixels) * np.asarray(disc.shape.spacing))[0]
        values = image[pixels][(back >= stretch[0]) & (back <= stretch[1])]
        if len(values) >= _FEWEST_PIXELS:
            break
    return float(values.mean(dtype=np.float64)) if len(values) else None
