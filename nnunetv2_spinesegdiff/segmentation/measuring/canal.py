"""The canal at the level of a disc: its width, and the signal of the fluid in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from .course import Course
from .shapes import Frame, Shape

_SLAB_MM = 4
_NEARBY_MM = 8
_END_MM = 4
_PIN_HOLE_MM = 2.0
_REACH_MM = 25.0
_CSF_REACH_MM = 15.0
_CSF_PERCENTILE = 90.0
_FEWEST_PIXELS = 30


@dataclass(frozen=True)
class Level:
    """Where the plane of a disc meets the canal.

    Attributes:
        at: (2,), mm down and mm back.
        down: (2,), unit vector along the canal, towards the foot.
        front: (2,), unit vector perpendicular to it, towards the front.
    """

    at: np.ndarray
    down: np.ndarray
    front: np.ndarray

    def local(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert points (n, 2) in mm to mm down and mm in front of the level (both (n,))."""
        away = points - self.at
        return away @ self.down, away @ self.front


def level_of(disc: Frame, course: Course) -> Level | None:
    """Find where the middle line of a disc, extended backward, meets the course; None if it does not."""
    back, up = disc.local(course.points)
    crossing = np.flatnonzero((up[:-1] > 0) & (up[1:] <= 0) & (back[:-1] > 0))
    if not len(crossing):
        return None
    first = crossing[back[crossing].argmin()]
    return Level(course.points[first], course.tangents[first], course.normals[first])


def canal_width(level: Level, canal: Shape, cut_off: np.ndarray) -> float | None:
    """Measure the anteroposterior width in mm of the canal's label, perpendicular to its course.

    The width is the mean over 4 mm along the canal, the thickness of an axial slice. The midsagittal diameter
    is the most often reported measure of central stenosis (Steurer et al. 2011, doi
    10.1186/1471-2474-12-175). It is measured perpendicular to the canal, because any oblique line through the
    canal is longer.

    Args:
        level: where to measure.
        canal: pixels of the canal.
        cut_off: (H, W) bool, where the image ends (`edges.beyond_edge`).

    Returns:
        The width. None if the canal is interrupted within the 4 mm, or reaches the edge of the image there.
    """
    down, front = level.local(canal.points)
    within = (np.abs(down) <= _SLAB_MM / 2) & (np.abs(front) <= _REACH_MM)
    quarters = np.histogram(down[within], bins=4, range=(-_SLAB_MM / 2, _SLAB_MM / 2))[0]
    if not quarters.all() or _touches(level, canal, cut_off):
        return None
    return float(within.sum() * canal.area_of_point / _SLAB_MM)


def _touches(level: Level, canal: Shape, cut_off: np.ndarray) -> bool:
    down, front = level.local(canal.pixels)
    near = (np.abs(down) <= _SLAB_MM / 2) & (np.abs(front) <= _REACH_MM)
    return bool(cut_off[canal.inside][near].any())


def mended(canal: Shape) -> Shape:
    """Fill holes of the canal and gaps of up to 2 mm along it. Pinholes in a mask do not narrow a canal."""
    rows = int(_PIN_HOLE_MM / canal.spacing[0]) + 1  # closes gaps of one less
    closed = ndimage.binary_closing(canal.inside, np.ones((rows, 1)))
    return Shape(ndimage.binary_fill_holes(canal.inside | closed), canal.spacing)


def narrowest_width(level: Level, canal: Shape, cut_off: np.ndarray) -> float | None:
    """Measure the smallest width of the canal within 8 mm of a level, for example at a hernia or a slip.

    The width changes by millimeters within a few millimeters there, and the level of a disc is known to 3 mm
    only. The smallest width does not depend on the exact level. Below the lowest disc it decreases, because
    the dural sac tapers. It can exceed `canal_width` if the mask has a hole at the level, because
    `canal_width` uses the mask without filling holes.

    Args:
        level: the level of a disc.
        canal: the canal after `mended`.
        cut_off: (H, W) bool, where the image ends (`edges.beyond_edge`).

    Returns:
        The width in mm. None if the canal is interrupted within 10 mm, or has no width at the level. Widths
        next to an end of the label are not used.
    """
    filled = _a_millimetre(level, canal.points)
    cut = _a_millimetre(level, canal.pixels[cut_off[canal.inside]]) > 0
    there = filled > 0
    near = np.flatnonzero(there[_END_MM:-_END_MM])
    slabs = sliding_window_view(filled, _SLAB_MM).sum(axis=1)[_END_MM:-_END_MM]
    whole = _all(there & ~cut, _SLAB_MM)[_END_MM:-_END_MM]
    if not whole[_NEARBY_MM] or np.ptp(near) + 1 > len(near):
        return None
    off_the_end = _all(there, _SLAB_MM + 2 * _END_MM)
    off_the_end[_NEARBY_MM] = True
    return float(slabs[whole & off_the_end].min() * canal.area_of_point / _SLAB_MM)


def _a_millimetre(level: Level, points: np.ndarray) -> np.ndarray:
    """Count the points (n, 2) in each millimeter along the canal, from above the level downward."""
    down, front = level.local(points)
    far = _NEARBY_MM + _SLAB_MM // 2 + _END_MM
    return np.histogram(down[np.abs(front) <= _REACH_MM], bins=2 * far, range=(-far, far))[0]


def _all(flags: np.ndarray, length: int) -> np.ndarray:
    """Return for every window of that length whether all its flags are set."""
    return np.asarray(sliding_window_view(flags, length).all(axis=1))


def csf_signal(level: Level, canal: Shape, image: np.ndarray) -> float | None:
    """Measure the signal of the cerebrospinal fluid: the canal's 90th percentile within 15 mm of a level.

    Cord, nerve roots and the rim of the canal are darker than the fluid on T2w images, so the mean would be
    too low. The maximum would be noise.

    Returns:
        The signal. None if the canal has fewer than 30 pixels there.
    """
    down, front = level.local(canal.pixels)
    within = (np.abs(down) <= _CSF_REACH_MM) & (np.abs(front) <= _REACH_MM)
    if within.sum() < _FEWEST_PIXELS:
        return None
    return float(np.percentile(image[canal.inside][within], _CSF_PERCENTILE))
