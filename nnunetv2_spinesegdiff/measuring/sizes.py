"""Heights of bodies and discs, and the length of discs, in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .parts import Part
from .shapes import central

_RIM_MM = 6.0
_ENDS_PERCENT = (1.0, 99.0)
_FEWEST_PIXELS = 10


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


def disc_space(disc: Part, bodies: Sequence[Part | None]) -> tuple[float, float]:
    """The stretch in mm back, in the disc's own frame, that lies between the bodies' endplates.

    The edges of the endplates, bony spurs not counted, bound the space of a disc; what is beyond is a bulge or
    a herniation (Fardon et al. 2014, doi 10.1016/j.spinee.2014.04.022). With one neighbour its endplate is
    taken, with none the stretch where the disc has at least half of its typical height.
    """
    half = disc.profile.height(central(disc.profile.extent())) / 2
    first, last = np.percentile(disc.frame.local(disc.shape.points)[0], _ENDS_PERCENT)
    bounded = False
    for body in bodies:
        if body is None:
            continue
        along = body.frame.local(body.shape.points)[0]
        front, rear = body.profile.extent()
        back, up = disc.frame.local(body.shape.points[(along >= front) & (along <= rear)])
        near = back[np.abs(up) <= half + _RIM_MM]
        if len(near):
            low, high = np.percentile(near, _ENDS_PERCENT)
            first, last, bounded = max(first, low), min(last, high), True
    # Bodies that hardly face each other do not bound a disc.
    own = disc.profile.extent()
    if not bounded or last - first < (own[1] - own[0]) / 2:
        return own
    return float(first), float(last)


def disc_length(disc: Part, height: float) -> float:
    """Anteroposterior length in mm: the mean over the middle half of the disc's height."""
    up = disc.frame.local(disc.shape.points)[1]
    band = np.abs(up) <= height / 4
    return float(band.sum() * disc.shape.area_of_point / (height / 2))


def disc_signal(disc: Part, stretch: tuple[float, float], image: np.ndarray) -> float:
    """Mean signal over a stretch in mm back, of the image (H, W).

    The disc's outermost pixels share their signal with the bone, and are left out where 10 others remain.
    """
    inside = disc.shape.inside
    for pixels in (ndimage.binary_erosion(inside), inside):
        back = disc.frame.local(np.argwhere(pixels) * np.asarray(disc.shape.spacing))[0]
        values = image[pixels][(back >= stretch[0]) & (back <= stretch[1])]
        if len(values) >= _FEWEST_PIXELS:
            break
    return float(values.mean(dtype=np.float64))
