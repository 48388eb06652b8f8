"""The line along the spine, which defines above and below, and the front and the back of the canal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from scipy.spatial import cKDTree

from ...labels import IVD, VERTEBRAE
from .shapes import Shape

STEP_MM = 1.0
_SMOOTH_MM = 60.0
_BEYOND_MM = 150.0
_END_MM = 20.0
_SHORTEST_MM = 30.0
_BEHIND_DISC = 0.75
_COLUMN_SIGMA_MM = 8.0
_DISC_WEIGHT = 2.0
_SIDESTEP = 0.2


@dataclass(frozen=True)
class Course:
    """A smooth line along the spine, extended straight beyond both ends.

    Attributes:
        points: (n, 2), mm down and mm back from the middle of pixel (0, 0), from head to foot, 1 mm apart.
        tangents: (n, 2), unit vectors towards the foot.
    """

    points: np.ndarray
    tangents: np.ndarray

    @property
    def normals(self) -> np.ndarray:
        """(n, 2), unit vectors towards the front."""
        return np.stack([self.tangents[:, 1], -self.tangents[:, 0]], axis=1)

    def up_at(self, point: np.ndarray) -> np.ndarray:
        """Return the unit vector (2,) towards the head where the line is nearest to a point (2,) in mm."""
        return -self.tangents[np.linalg.norm(self.points - point, axis=1).argmin()]

    def locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert points (m, 2) in mm to mm upward along the line, and mm in front of it (both (m,))."""
        nearest = self._tree.query(points)[1]
        away = points - self.points[nearest]
        upward = (len(self.points) - 1 - nearest) * STEP_MM - (away * self.tangents[nearest]).sum(axis=1)
        return upward, (away * self.normals[nearest]).sum(axis=1)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)


def course_of_canal(canal: np.ndarray, spacing: Sequence[float]) -> Course | None:
    """Find the middle line of the canal.

    The middle of each row is used, also where the canal is oblique: the middle of an oblique cut through a
    band is on the axis of the band. Gaps are bridged.

    Args:
        canal: (H, W) bool, without small parts.
        spacing: (row, column) in mm.

    Returns:
        The line. None if less than 30 mm of the canal is visible, which is too short for a direction.
    """
    rows = np.flatnonzero(canal.any(axis=1))
    if not len(rows) or (rows[-1] - rows[0] + 1) * spacing[0] < _SHORTEST_MM:
        return None
    first = canal[rows].argmax(axis=1)
    last = canal.shape[1] - 1 - canal[rows, ::-1].argmax(axis=1)
    every = np.arange(rows[0], rows[-1] + 1)
    middle = np.interp(every, rows, (first + last) / 2) * spacing[1]
    middle = _smoothed(middle, round(_SMOOTH_MM / spacing[0]))
    return _course(np.stack([every * spacing[0], middle], axis=1))


def course_of_discs(discs: Sequence[Shape]) -> Course | None:
    """Find a line behind the discs, where the canal would be, for a mask without a canal; None without discs.

    It runs through a point on the long axis of each disc, three quarters of a typical disc length behind the
    center: half a length to the end of the disc, and a quarter to the middle of the canal. Beyond the
    outermost discs, the line is perpendicular to them.
    """
    if not discs:
        return None
    axes = [disc.long_axis() for disc in discs]
    length = float(np.median([length for _, length in axes]))
    knots = [
        (*(disc.centre + _BEHIND_DISC * length * back), *back)
        for disc, (back, _) in zip(discs, axes, strict=True)
    ]
    ordered = np.array(sorted(knots))
    points, back = ordered[:, :2], ordered[:, 2:]
    down = np.stack([back[:, 1], -back[:, 0]], axis=1)
    return _course(
        np.concatenate([points[:1] - _END_MM * down[:1], points, points[-1:] + _END_MM * down[-1:]])
    )


def course_of_column(mask: np.ndarray, spacing: Sequence[float]) -> tuple[Course, np.ndarray] | None:
    """Find the line through the vertebral bodies and discs of a mask.

    It is the line from the first to the last row with the most vertebra and disc around it, inclined by at
    most 45 degrees. Discs count twice, because there are none between posterior elements.

    Args:
        mask: (H, W) labels.
        spacing: (row, column) in mm.

    Returns:
        The course, and the labels (n,) on it between its first and last labeled point, 1 mm of height apart,
        from head to foot. None if the mask has no vertebra and no disc, or only one row of them.
    """
    rows, columns = (
        (np.arange(max(1, round(size * mm))) / mm).astype(int)
        for size, mm in zip(mask.shape, spacing, strict=True)
    )
    labels = mask[np.ix_(rows, columns)]  # 1 mm pixels
    reward = (labels == VERTEBRAE) + _DISC_WEIGHT * (labels == IVD)
    middle = _best_line(ndimage.gaussian_filter1d(reward, _COLUMN_SIGMA_MM, axis=1, mode="constant"))
    on_line = labels[np.arange(len(labels)), middle]
    inside = np.flatnonzero((on_line == VERTEBRAE) | (on_line == IVD))
    if not len(inside) or inside[0] == inside[-1]:
        return None
    along = slice(inside[0], inside[-1] + 1)
    smooth = _smoothed(middle[along], round(_SMOOTH_MM))
    return _course(np.stack([np.arange(len(labels))[along], smooth], axis=1)), on_line[along]


def _smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Smooth with a Savitzky-Golay filter: a local parabola through `window` values, or through all if fewer.

    The outermost parabolas are used up to the ends, as in scipy.signal. That module takes half a second to
    load.
    """
    window = min(window, len(values)) // 2 * 2 - 1
    if window <= 2:
        return values
    half = window // 2
    at = np.arange(-half, half + 1)
    parabolas = np.polyfit(at, sliding_window_view(values, window).T, 2)  # (3, n - window + 1)
    first, last = np.polyval(parabolas[:, 0], at), np.polyval(parabolas[:, -1], at)
    return np.concatenate([first[:half], parabolas[2], last[half + 1 :]])


def _best_line(reward: np.ndarray) -> np.ndarray:
    """Find the line with the highest sum of (H, W). Its column (H,) changes by at most 1 from row to row."""
    total, moves = reward[0], np.zeros(reward.shape, dtype=int)
    before = np.full((3, reward.shape[1]), -np.inf)
    for row in range(1, len(reward)):
        before[0, 1:] = total[:-1] - _SIDESTEP
        before[1] = total
        before[2, :-1] = total[1:] - _SIDESTEP
        moves[row] = before.argmax(axis=0) - 1
        total = reward[row] + before.max(axis=0)
    line = [int(total.argmax())]
    for row in range(len(reward) - 1, 0, -1):
        line.append(line[-1] + int(moves[row, line[-1]]))
    return np.array(line[::-1])


def _course(knots: np.ndarray) -> Course:
    """Make a course with points 1 mm apart along a polyline (n, 2), n > 1, extended at both ends."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    at = np.arange(0, lengths[-1] + STEP_MM / 2, STEP_MM)
    inner = np.stack([np.interp(at, lengths, knots[:, axis]) for axis in (0, 1)], axis=1)
    end = min(round(_END_MM / STEP_MM), len(inner) - 1)
    beyond = np.arange(STEP_MM, _BEYOND_MM, STEP_MM)[:, None]
    above, below = _unit(inner[0] - inner[end]), _unit(inner[-1] - inner[-1 - end])
    points = np.concatenate([inner[0] + beyond[::-1] * above, inner, inner[-1] + beyond * below])
    slopes = np.gradient(points, axis=0)
    return Course(points, slopes / np.linalg.norm(slopes, axis=1, keepdims=True))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
