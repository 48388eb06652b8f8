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
        down, front: (2,), unit vectors along the canal and square to it.
    """

    at: np.ndarray
    down: np.ndarray
    front: np.ndarray

    def local(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(down, front) in mm of points (n, 2), each (n,)."""
        away = points - self.at
        return away @ self.down, away @ self.front


def level_of(disc: Frame, course: Course) -> Level | None:
    """The point of the course on the disc's middle line, drawn out backward; None where they do not meet."""
    back, up = disc.local(course.points)
    crossing = np.flatnonzero((up[:-1] > 0) & (up[1:] <= 0) & (back[:-1] > 0))
    if not len(crossing):
        return None
    first = crossing[back[crossing].argmin()]
    return Level(course.points[first], course.tangents[first], course.normals[first])


def canal_width(level: Level, canal: Shape, cut_off: np.ndarray) -> float | None:
    """Anteroposterior diameter in mm of the canal's label, square to its course.

    None where it is not there all along, or is cut off by the picture's edge (`cut_off`, (H, W) bool).

    The mean over 4 mm along the canal, as thick as an axial slice. The midsagittal diameter is the most often
    reported measure of central stenosis (Steurer et al. 2011, doi 10.1186/1471-2474-12-175); taken square to
    the canal, since any slanted line through it is longer.
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
    """The canal without holes, and without gaps of up to 2 mm along it: a pin-hole narrows nothing."""
    rows = int(_PIN_HOLE_MM / canal.spacing[0]) + 1  # closes gaps of one less
    closed = ndimage.binary_closing(canal.inside, np.ones((rows, 1)))
    return Shape(ndimage.binary_fill_holes(canal.inside | closed), canal.spacing)


def narrowest_width(level: Level, canal: Shape, cut_off: np.ndarray) -> float | None:
    """As `canal_width`, the least within 8 mm of a level: what a hernia or a slip leaves.

    Next to these the width changes by millimeters within few, while a disc's level is known to 3 mm only: the
    least one does not depend on it. Below the lowest disc it shows that the dural sac tapers. Where the mask
    has a hole at the level itself, it can be more than `canal_width`, which takes the mask as it is.

    None where the canal is interrupted within 10 mm, or where it has no width at the level. Where its label
    ends nearby, what is left of that end is not a diameter.

    Args:
        canal: see `mended`.
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
    """Whether all flags are set, of every run of that length."""
    return np.asarray(sliding_window_view(flags, length).all(axis=1))


def csf_signal(level: Level, canal: Shape, image: np.ndarray) -> float | None:
    """Signal of the cerebrospinal fluid: the canal's 90th percentile within 15 mm of a level.

    Cord and nerve roots in the canal are darker than the fluid on T2w images, and so is its rim, so the mean
    would be too low; the maximum would be noise. None where the canal has less than 30 pixels there.
    """
    down, front = level.local(canal.pixels)
    within = (np.abs(down) <= _CSF_REACH_MM) & (np.abs(front) <= _REACH_MM)
    if within.sum() < _FEWEST_PIXELS:
        return None
    return float(np.percentile(image[canal.inside][within], _CSF_PERCENTILE))
