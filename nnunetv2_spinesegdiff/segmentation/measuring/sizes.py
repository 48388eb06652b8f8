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
    """Find the bodies directly below and above a disc; None if the next disc comes first."""
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
    """Check whether a vertebra is at most 1.4 times as high as deep, and tilted by at most 35 degrees.

    Bodies are about 0.8 times as high as deep, so two fused bodies exceed the limit. A part that reaches the
    line along the spine is not a whole body either. It was cut by that line, where the canal is missing.
    """
    clear = course.locate(body.core[::_EVERY_POINT])[1].min() > _CLEAR_MM
    return bool(clear) and _is_square(body, course) and _slenderness(body) <= _TALLEST_BODY


def looks_like_disc(disc: Part, course: Course, bodies: Sequence[Part | None]) -> bool:
    """Check whether a disc is flat, perpendicular to the spine and at least half as deep as its neighbors."""
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
    """Return the disc with its middle line fitted to the space between its vertebrae."""
    profile = fit_frame(disc.shape, disc.frame.up, partial(disc_space, bodies=bodies))
    return replace(disc, profile=profile)


def disc_space(disc: Profile, bodies: Sequence[Part | None]) -> tuple[float, float]:
    """Find the space of a disc between the endplates of its vertebrae, in mm back in the disc's own frame.

    The space ends at the edges of the endplates, without bony spurs. The disc beyond them is a bulge or a
    herniation (Fardon et al. 2014, The Spine Journal 14, 2525-2545). On a side without a vertebra, most often
    that of the sacrum, the space ends where the edge of the disc leaves a straight line, because the disc
    covers the rim of the bone there. Without any vertebra, the space is also limited to where the disc
    has at least half of its median height.

    Args:
        bodies: the ones below and above, or None.

    Returns:
        The front and the rear end, in mm back of the frame's center.
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
    """Find the stretch of a body, in mm back in the disc's frame, with less than `within` mm to its axis."""
    back, up = disc.frame.local(body.core)
    near = back[np.abs(up) <= within]
    if not len(near):
        return None
    low, high = np.percentile(near, _ENDS_PERCENT)
    return float(low), float(high)


def disc_length(disc: Profile) -> float:
    """Measure the anteroposterior length of a disc in mm, including bulges and herniations.

    The length ends where the height is half of the largest height within the next 3 mm. The low end of a
    wedge counts. Single pixels at an oblique edge do not.
    """
    bin_mm = float(disc.edges[1] - disc.edges[0])
    heights = np.pad(disc.areas / bin_mm, 1)
    least = ndimage.maximum_filter1d(heights, 2 * round(_END_MM / bin_mm) + 1) / 2
    high = np.flatnonzero((heights >= least) & (heights > 0))
    front = high[0] - _share(heights[high[0]], heights[high[0] - 1], least[high[0]])
    rear = high[-1] + _share(heights[high[-1]], heights[high[-1] + 1], least[high[-1]])
    return float((rear - front) * bin_mm)


def _share(inner: float, outer: float, least: float) -> float:
    """Return where the height falls to `least`: 0 at one bin, 1 at the next one outward."""
    return (inner - least) / (inner - outer) if inner > outer else 0.0


def disc_signal(disc: Part, stretch: tuple[float, float], image: np.ndarray) -> float | None:
    """Compute the mean signal of a disc in the image (H, W) over a stretch in mm back.

    The outermost pixels of the disc contain signal of the bone. They are left out if 10 others remain.

    Returns:
        The signal. None if the stretch holds no pixel of the disc.
    """
    inside = disc.shape.inside
    for pixels in (ndimage.binary_erosion(inside), inside):
        back = disc.frame.local(np.argwhere(pixels) * np.asarray(disc.shape.spacing))[0]
        values = image[pixels][(back >= stretch[0]) & (back <= stretch[1])]
        if len(values) >= _FEWEST_PIXELS:
            break
    return float(values.mean(dtype=np.float64)) if len(values) else None
