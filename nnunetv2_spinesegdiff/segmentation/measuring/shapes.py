"""The points of a part of a mask, and its size in its own coordinate frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

_POINTS_A_SIDE = 4
_BIN_MM = 0.5
_GAP_MM = 5.0
_FEWEST_BINS = 3
_OFF_LINE_MM = 2.0
_TURNS = 4
_STILL = 0.003
_CENTRAL = 0.8
_END_SHARES = (0.1, 0.2)


@dataclass(frozen=True)
class Frame:
    """Position of a disc or a body.

    Attributes:
        centre: (2,), mm down and mm back.
        back: (2,), unit vector along its middle line, towards the back.
        up: (2,), unit vector perpendicular to it, towards the head.
    """

    centre: np.ndarray
    back: np.ndarray
    up: np.ndarray

    @classmethod
    def upright(cls, centre: np.ndarray, up: np.ndarray) -> Frame:
        """Make a frame from its `up` vector, which can have any length."""
        up = up / np.linalg.norm(up)
        return cls(centre, np.array([up[1], -up[0]]), up)

    def turned(self, slope: float, centre: np.ndarray) -> Frame:
        """Rotate the frame until its back has risen by `slope`, a tangent, and move it to `centre`."""
        return Frame.upright(centre, self.up - slope * self.back)

    def local(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert points (n, 2) in mm to mm back and mm up in the frame (both (n,))."""
        away = points - self.centre
        return away @ self.back, away @ self.up

    def at(self, back: float, up: float) -> np.ndarray:
        """Convert mm back and mm up in the frame to a point (2,), mm down and mm back."""
        return self.centre + back * self.back + up * self.up


@dataclass(frozen=True)
class Shape:
    """A part of a mask, as pixels and as 16 points per pixel. Areas are sums over points.

    Attributes:
        inside: (H, W) bool.
        spacing: (row, column) in mm.
    """

    inside: np.ndarray
    spacing: tuple[float, float]

    @cached_property
    def pixels(self) -> np.ndarray:
        """Centers (n, 2) of the pixels: mm down and mm back from the center of pixel (0, 0)."""
        rows_and_columns = np.divmod(np.flatnonzero(self.inside), self.inside.shape[1])
        return np.stack(rows_and_columns, axis=1) * np.asarray(self.spacing)

    @cached_property
    def points(self) -> np.ndarray:
        """Points (16 n, 2), spread evenly over the pixels, in the same coordinates."""
        steps = (np.arange(_POINTS_A_SIDE) + 0.5) / _POINTS_A_SIDE - 0.5
        offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
        return (self.pixels[:, None] + offsets * np.asarray(self.spacing)).reshape(-1, 2)

    @property
    def area_of_pixel(self) -> float:
        """In mm²."""
        return self.spacing[0] * self.spacing[1]

    @property
    def area_of_point(self) -> float:
        """In mm²."""
        return self.area_of_pixel / _POINTS_A_SIDE**2

    @property
    def area(self) -> float:
        """In mm²."""
        return len(self.pixels) * self.area_of_pixel

    @cached_property
    def centre(self) -> np.ndarray:
        """Center (2,), mm down and mm back."""
        return self.pixels.mean(axis=0)

    def long_axis(self) -> tuple[np.ndarray, float]:
        """Return the unit vector (2,) of the long axis, backward, and the length in mm of a similar bar."""
        values, vectors = np.linalg.eigh(np.cov(self.points.T))
        back = vectors[:, -1] * (1.0 if vectors[1, -1] >= 0 else -1.0)
        return back, float(np.sqrt(12 * values[-1]))


@dataclass(frozen=True)
class Profile:
    """The height of a part along its middle line.

    Attributes:
        frame: position of the part.
        edges: (n + 1,), mm back of the frame's center, 0.5 mm apart.
        areas: (n,), mm² between the edges.
        middles: (n,), mean height above the frame's axis in mm, NaN where the area is 0.
    """

    frame: Frame
    edges: np.ndarray
    areas: np.ndarray
    middles: np.ndarray

    @classmethod
    def of(cls, shape: Shape, frame: Frame) -> Profile:
        back, up = frame.local(shape.points)
        # Each point is shared between the two nearest bins, so that the grid of points does not show.
        place = back / _BIN_MM - 0.5
        lower = np.floor(place).astype(int)
        first, share = lower.min(), place - lower
        bins = np.concatenate([lower, lower + 1]) - first
        weights = np.concatenate([1 - share, share])
        counts = np.bincount(bins, weights)
        with np.errstate(invalid="ignore"):
            middles = np.bincount(bins, weights * np.concatenate([up, up])) / counts
        edges = (first + np.arange(len(counts) + 1)) * _BIN_MM
        return cls(frame, edges, counts * shape.area_of_point, middles)

    def extent(self) -> tuple[float, float]:
        """Find the stretch, in mm back, where the part has at least half of its median height.

        Thinner ends do not belong to a body, for example a bridge to the posterior elements or a bony spur.
        Gaps of less than 5 mm are bridged.
        """
        filled = self.areas > 0
        high = self.areas >= np.median(self.areas[filled]) / 2
        first, last = _longest_run(ndimage.binary_closing(high, np.ones(round(_GAP_MM / _BIN_MM))) | high)
        return float(self.edges[first]), float(self.edges[last])

    def height(self, stretch: tuple[float, float]) -> float:
        """Mean height in mm over a stretch in mm back: the area divided by the length."""
        total = np.concatenate([[0], np.cumsum(self.areas)])
        below, above = np.interp(stretch, self.edges, total)
        return float((above - below) / (stretch[1] - stretch[0]))

    def straight(self, stretch: tuple[float, float], side: int) -> tuple[float, float]:
        """Find the longest part of a stretch where an edge is within 2 mm of a straight line.

        Args:
            side: 1 for the upper edge, -1 for the lower.
        """
        at = (self.edges[:-1] + self.edges[1:]) / 2
        edge = self.middles + side * self.areas / _BIN_MM / 2
        within = (at > stretch[0]) & (at < stretch[1])
        used = within & (self.areas > 0)
        keep = used
        # The first line is also fitted to the points that the second one leaves out.
        for _ in range(2):
            if keep.sum() < _FEWEST_BINS:
                return stretch
            slope, offset = _line(at[keep], edge[keep])
            keep = used & (np.abs(edge - offset - slope * at) <= _OFF_LINE_MM)
        run = _longest_run(within & (keep | ~used))
        first, last = (float(self.edges[end]) for end in run)
        # A straight part below half of the length is not used.
        if last - first < (stretch[1] - stretch[0]) / 2:
            return stretch
        return max(stretch[0], first), min(stretch[1], last)

    def slope(self, stretch: tuple[float, float]) -> tuple[float, float]:
        """Fit a line to the middle line over a stretch: its slope, and its height in mm at the center."""
        at = (self.edges[:-1] + self.edges[1:]) / 2
        used = (at > stretch[0]) & (at < stretch[1]) & (self.areas > 0)
        if used.sum() < _FEWEST_BINS:
            return 0.0, float(np.nanmean(self.middles))
        # Dents, and bulges at an end, do not change a median of slopes.
        slope, offset = _line(at[used], self.middles[used])
        return float(slope), float(offset + slope * sum(stretch) / 2)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit a line through most of the points (Theil-Sen, as in scipy.stats): its slope and offset.

    That module takes half a second to load.

    Args:
        x: (n,) ascending.
        y: (n,).
    """
    first, second = np.triu_indices(len(x), 1)
    slope = np.median((y[second] - y[first]) / (x[second] - x[first]))
    return float(slope), float(np.median(y) - slope * np.median(x))


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Return the first index of the longest run of set flags and the index after its last; (0, 0) if none."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int))).reshape(-1, 2)
    if not len(changes):
        return 0, 0
    first, last = changes[np.diff(changes, axis=1).argmax()]
    return int(first), int(last)


def central(stretch: tuple[float, float]) -> tuple[float, float]:
    """Return the central 80 % of a stretch."""
    margin = (1 - _CENTRAL) / 2 * (stretch[1] - stretch[0])
    return stretch[0] + margin, stretch[1] - margin


def ends(stretch: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the parts from 10 to 20 % of the length of a stretch, from its front and from its back."""
    near, far = (share * (stretch[1] - stretch[0]) for share in _END_SHARES)
    return (stretch[0] + near, stretch[0] + far), (stretch[1] - far, stretch[1] - near)


def fit_frame(
    shape: Shape, up: np.ndarray, stretch_of: Callable[[Profile], tuple[float, float]] = Profile.extent
) -> Profile:
    """Rotate a frame until its axis is the middle line of the part, halfway between its upper and lower edge.

    Args:
        up: (2,), roughly upward.
        stretch_of: returns the stretch whose central 80 % are used, in mm back in a profile's frame.
    """
    profile = Profile.of(shape, Frame.upright(shape.centre, up))
    for _ in range(_TURNS):
        stretch = central(stretch_of(profile))
        slope, height = profile.slope(stretch)
        middle = profile.frame.at(sum(stretch) / 2, height)
        profile = Profile.of(shape, profile.frame.turned(slope, middle))
        if abs(slope) < _STILL:
            break
    return profile
