"""Painting the spinal canal: epidural fat, dural sac with CSF, cord and nerve roots."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .canvas import Box, Canvas, Points
from .placement import Spine, Table
from .shapes import superellipse
from .signals import Signals
from .texture import Texture

_ROOTS = 22
_SAC_END_MM = -42.0
_SAC_TAPER_MM = 50.0


def paint_canal(
    canvas: Canvas, spine: Spine, anatomy: Anatomy, signals: Signals, texture: Texture, label: int
) -> None:
    """The sac takes the label; the fat around it does not."""
    found = canvas.lattice.box((0, 0, 0), (34, 400, 600))
    if found is None:
        return
    box, points = _columns(canvas, found, spine)
    x, y, z = points
    slope = Table(np.linspace(-220, 459.5, len(spine.canal.values)), spine.canal.slope())
    lean = 1 / np.sqrt(1 + slope(z) ** 2)
    behind = (y - spine.canal(z)) * lean
    half_depth, half_width = _sac_size(anatomy, z)
    _paint_fat(canvas, box, points, behind, half_depth, half_width, spine, signals, texture)
    distance = _ellipse_distance(behind, x, half_depth, half_width)
    # Pulsation: the fluid is not evenly bright.
    fluid = signals.csf * (1 - 0.05 * np.abs(texture(x, y, z, (20, 12, 30))))
    wall = canvas.coverage(-distance - np.float32(0.5))
    cover = canvas.coverage(distance)
    canvas.paint(box, cover, fluid + wall * (0.5 * signals.ligament - 0.5 * fluid), label)
    relative_behind, relative_left = behind / half_depth, x / half_width
    _paint_cord(canvas, box, spine, anatomy, signals, behind, x, z, half_depth)
    _paint_roots(canvas, box, spine, anatomy, signals, relative_behind, relative_left, z)


def _columns(canvas: Canvas, box: Box, spine: Spine) -> tuple[Box, Points]:
    # Only the columns that the canal passes through: it is narrow and runs from edge to edge.
    x, y, z = canvas.lattice.points(box)
    near = np.abs(y - spine.canal(z)) < 26
    columns = np.flatnonzero(np.broadcast_to(near, np.broadcast_shapes(y.shape, z.shape)).any(axis=(0, 1)))
    start, stop = (columns[0], columns[-1] + 1) if len(columns) else (0, 1)
    box = (box[0], box[1], slice(box[2].start + start, box[2].start + stop))
    x, y, z = canvas.lattice.points(box)
    return box, (x - spine.sideways(z), y, z)


def _sac_size(anatomy: Anatomy, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # It narrows to a tip in front of S2.
    share = np.clip((z - np.float32(_SAC_END_MM)) / np.float32(_SAC_TAPER_MM), 0, 1)
    taper = np.sqrt(share) * (1 - 0.12 * (1 - share))
    half_depth = np.maximum(np.float32(anatomy.soft.canal_depth / 2) * taper, np.float32(0.01))
    return half_depth, np.maximum(np.float32(anatomy.soft.canal_width / 2) * taper, np.float32(0.01))


def _ellipse_distance(
    behind: np.ndarray, left: np.ndarray, half_depth: np.ndarray, half_width: np.ndarray
) -> np.ndarray:
    radius = superellipse(behind, left, half_depth, half_width, 2)
    return (radius - 1) * np.minimum(half_depth, half_width)


def _paint_fat(
    canvas: Canvas, box: Box, points: Points, behind: np.ndarray, half_depth: np.ndarray,
    half_width: np.ndarray, spine: Spine, signals: Signals, texture: Texture,
) -> None:  # fmt: skip
    x, y, z = points
    # Pads behind the sac at every disc; in front of it only below L5.
    pad = np.zeros_like(z)
    for disc in spine.discs:
        pad = np.maximum(pad, np.exp(-(((z - np.float32(disc.frame.z + 2)) / 10) ** 2)))
    low = np.clip(np.float32(0.6) - z / 25, 0, 1)
    half = np.maximum(half_depth, np.float32(5)) + 1.2 + np.where(behind > 0, 1.0 + 4.0 * pad, 3.5 * low)
    # Through the foramina between the pedicles the fat goes on sideways.
    width = np.maximum(half_width, np.float32(6)) + 2.0 + 8.0 * pad
    distance = _ellipse_distance(behind - np.where(behind > 0, 0.5, 0), x, half, width)
    rim = canvas.coverage(-distance - np.float32(1.2))
    fat = signals.epidural_fat * (1 + 0.08 * texture(x, y, z, (6, 5, 6)))
    canvas.paint(box, canvas.coverage(distance), fat + rim * (signals.ligament - fat))


def _paint_cord(
    canvas: Canvas, box: Box, spine: Spine, anatomy: Anatomy, signals: Signals, behind: np.ndarray,
    left: np.ndarray, z: np.ndarray, half_depth: np.ndarray,
) -> None:  # fmt: skip
    end = _height_of_level(spine, anatomy.soft.conus_level)
    thick = np.sqrt(np.clip((z - np.float32(end)) / 38, 0, 1))
    half = np.maximum(np.float32(3.4) * thick, np.float32(0.01))
    off = behind - half_depth * np.float32(0.15)
    distance = _ellipse_distance(off, left, half, half * np.float32(1.3))
    canvas.paint(box, canvas.coverage(distance), signals.cord)


def _height_of_level(spine: Spine, level: float) -> float:
    centres = [vertebra.frame.z for vertebra in spine.vertebrae]
    step = centres[-1] - centres[-2]
    return float(np.interp(level, range(len(centres) + 6), centres + [centres[-1] + step * k for k in range(1, 7)]))


def _paint_roots(
    canvas: Canvas, box: Box, spine: Spine, anatomy: Anatomy, signals: Signals, behind: np.ndarray,
    left: np.ndarray, z: np.ndarray,
) -> None:  # fmt: skip
    rng = np.random.default_rng(anatomy.soft.root_seed)
    start = _height_of_level(spine, anatomy.soft.conus_level) + 22
    scale = anatomy.soft.canal_depth / 2
    for _ in range(_ROOTS):
        # Roots leave the conus, sink to the back of the sac and part one by one to either side.
        exit_z = rng.uniform(-50, 0.8 * start)
        side, rest = rng.choice([-1.0, 1.0]), rng.uniform(0.25, 0.85)
        wobble, phase = rng.uniform(0.02, 0.07), rng.uniform(0, 6)
        knots = np.array([exit_z - 12, exit_z + 25, (exit_z + start) / 2, start])
        deep = Table(knots, np.array([0.35, rest, rng.uniform(0.3, 0.8), 0.25]), 8)
        apart = side * rng.uniform(0.05, 0.6)
        aside = Table(knots, np.array([side * 0.95, apart, apart * 0.8, side * 0.2]), 8)
        du = behind - deep(z) - np.float32(wobble) * np.sin(z / 14 + np.float32(phase))
        dl = (left - aside(z)) * np.float32(anatomy.soft.canal_width / anatomy.soft.canal_depth)
        distance = np.hypot(du, dl) * np.float32(scale) - np.float32(rng.uniform(0.55, 0.85))
        within = np.clip((z - np.float32(exit_z - 10)) / 6, 0, 1) * np.clip((np.float32(start) - z) / 6, 0, 1)
        canvas.paint(box, canvas.coverage(distance) * within * np.float32(0.85), signals.root)
