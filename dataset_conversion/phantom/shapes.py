"""Signed distances (mm, negative inside), exact or nearly so close to the surface; arrays broadcast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Point = Sequence[float]
Length = np.ndarray | np.floating | float


def rounded_intersection(first: np.ndarray, second: np.ndarray, radius: float) -> np.ndarray:
    """Inside of both, the edge where they meet rounded off with a radius in mm."""
    first, second = first + radius, second + radius
    inside = np.minimum(np.maximum(first, second), 0)
    return inside + np.hypot(np.maximum(first, 0), np.maximum(second, 0)) - radius


def smooth_union(first: np.ndarray, second: np.ndarray, radius: float) -> np.ndarray:
    """Inside of either, with a fillet of about the radius in mm."""
    blend = np.maximum(radius - np.abs(first - second), 0) * (1 / radius)
    return np.minimum(first, second) - blend * blend * (radius / 4)


def superellipse(a: np.ndarray, b: np.ndarray, half_a: Length, half_b: Length, power: float) -> np.ndarray:
    """Relative radius: 0 in the middle, 1 on the curve |a/half_a|^power + |b/half_b|^power = 1."""
    if power == 2:
        return np.hypot(a / half_a, b / half_b)
    # Powers 4 and 3 without np.power, which is ten times slower.
    p, q = np.abs(a / half_a), np.abs(b / half_b)
    if power == 4:
        return np.sqrt(np.sqrt(p**2 * p**2 + q**2 * q**2))
    return np.cbrt(p * p * p + q * q * q)


def capsule(
    points: Sequence[np.ndarray], start: Point, end: Point, radius: float, stretch: float = 1.0
) -> np.ndarray:
    """A rod between two points with round ends.

    Args:
        points: (front, up, left) coordinates in mm.
        start, end: its ends in the same coordinates.
        radius: in mm.
        stretch: how much taller than thick it is, along the second coordinate.
    """
    scale = np.array([1, 1 / stretch, 1])
    a, b = np.asarray(start) * scale, np.asarray(end) * scale
    axis = b - a
    length = float(axis @ axis)
    d = [p * np.float32(s) - np.float32(o) for p, s, o in zip(points, scale, a, strict=True)]
    along = np.clip(sum(c * np.float32(u / length) for c, u in zip(d, axis, strict=True)), 0, 1)
    rest = [c - along * np.float32(u) for c, u in zip(d, axis, strict=True)]
    return np.sqrt(rest[0] ** 2 + rest[1] ** 2 + rest[2] ** 2) - radius


def rounded_box(points: Sequence[np.ndarray], half: Point, radius: float) -> np.ndarray:
    """A box about the origin with rounded edges; `half` are its half sides, the rounding included."""
    q = [np.abs(p) - (h - radius) for p, h in zip(points, half, strict=True)]
    outside = np.sqrt(sum(np.maximum(c, 0) ** 2 for c in q))
    return outside + np.minimum(np.maximum(np.maximum(q[0], q[1]), q[2]), 0) - radius
