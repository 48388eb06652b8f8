"""Painting the spinal canal: epidural fat, dural sac with CSF, cord and nerve roots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Patch, Scene
from .placement import Spine, Table
from .shapes import superellipse

_ROOTS = 24
_SAC_END_MM = -42.0
_SAC_TAPER_MM = 50.0
_REACH_MM = (24.0, 17.0)


@dataclass(frozen=True)
class _Course:
    """Position of samples in the canal: `behind` its middle in mm, and the sac's half sizes there in mm."""

    behind: np.ndarray
    half_depth: np.ndarray
    half_width: np.ndarray


def paint_canal(canvas: Canvas, scene: Scene, label: int) -> None:
    """The sac takes the label; the fat around it does not."""
    with canvas.strip(scene.spine.canal, _REACH_MM) as patch:
        if patch is None:
            return
        course = _course(patch, scene)
        _paint_fat(patch, course, scene)
        _paint_sac(patch, course, scene, label)
        inner = patch.part(_sac_distance(patch, course) < 0)
        course = _course(inner, scene)
        _paint_cord(inner, course, scene)
        _paint_roots(inner, course, scene)


def _course(patch: Patch, scene: Scene) -> _Course:
    _, y, z = patch.points
    canal, soft = scene.spine.canal, scene.anatomy.soft
    behind = (y - canal(z)) * canal.lean()(z)
    # The sac narrows to a tip in front of S2.
    share = np.clip((z - _SAC_END_MM) / _SAC_TAPER_MM, 0, 1)
    taper = np.sqrt(share) * (1 - 0.12 * (1 - share))
    half_depth = np.maximum(soft.canal_depth / 2 * taper, 0.01)
    half_width = np.maximum(soft.canal_width / 2 * taper, 0.01)
    return _Course(behind, half_depth, half_width)


def _ellipse_distance(
    behind: np.ndarray, left: np.ndarray, half_depth: np.ndarray, half_width: np.ndarray
) -> np.ndarray:
    radius = superellipse(behind, left, half_depth, half_width, 2)
    return (radius - 1) * np.minimum(half_depth, half_width)


def _sac_distance(patch: Patch, course: _Course) -> np.ndarray:
    return _ellipse_distance(course.behind, patch.points[0], course.half_depth, course.half_width)


def _paint_fat(patch: Patch, course: _Course, scene: Scene) -> None:
    x, y, z = patch.points
    signals = scene.signals
    # Pads behind the sac at every disc; in front of it only below L5.
    pad = Table.peaks([disc.frame.z + 2 for disc in scene.spine.discs], 10.0)(z)
    low = np.clip(0.6 - z / 25, 0, 1)
    back = course.behind > 0
    half = np.maximum(course.half_depth, 5) + 1.2 + np.where(back, 1.2 + 5.5 * pad, 3.5 * low)
    # Through the foramina between the pedicles the fat goes on sideways.
    width = np.maximum(course.half_width, 6) + 2.0 + 8.0 * pad
    distance = _ellipse_distance(course.behind, x, half, width)
    rim = patch.coverage(-distance - 1.0)
    fat = signals.epidural_fat * (1 + 0.08 * scene.texture(x, y, z, (6, 5, 6)))
    patch.paint(patch.coverage(distance), fat + 0.8 * rim * (signals.ligament - fat))


def _paint_sac(patch: Patch, course: _Course, scene: Scene, label: int) -> None:
    x, y, z = patch.points
    signals = scene.signals
    distance = _sac_distance(patch, course)
    # Pulsation: the fluid is not evenly bright.
    fluid = signals.csf * (1 - 0.06 * np.abs(scene.texture(x, y, z, (20, 9, 30))))
    dura = 0.5 * patch.coverage(-distance - 0.5)
    patch.paint(patch.coverage(distance), fluid + dura * (signals.ligament - fluid), label)


def _paint_cord(patch: Patch, course: _Course, scene: Scene) -> None:
    x, _, z = patch.points
    end = _height_of_level(scene.spine, scene.anatomy.soft.conus_level)
    thick = np.sqrt(np.clip((z - end) / 38, 0, 1))
    half = np.maximum(3.4 * thick, 0.01)
    off = course.behind - course.half_depth * 0.12
    patch.paint(patch.coverage(_ellipse_distance(off, x, half, half * 1.3)), scene.signals.cord)


def _height_of_level(spine: Spine, level: float) -> float:
    centres = [vertebra.frame.z for vertebra in spine.vertebrae]
    step = centres[-1] - centres[-2]
    centres += [centres[-1] + step * k for k in range(1, 7)]
    return float(np.interp(level, range(len(centres)), centres))


def _paint_roots(patch: Patch, course: _Course, scene: Scene) -> None:
    soft = scene.anatomy.soft
    rng = np.random.default_rng(soft.root_seed)
    start = _height_of_level(scene.spine, soft.conus_level) + 22
    z = patch.points[2]
    # Relative places in the sac; roots thin out with it towards its end.
    behind, left = course.behind / course.half_depth, patch.points[0] / course.half_width
    scale = soft.canal_depth / 2
    aspect = soft.canal_width / soft.canal_depth
    cover = np.zeros_like(patch.signal)
    for _ in range(_ROOTS):
        deep, aside, width, low = _draw_root(rng, start)
        distance = np.hypot(behind - deep(z), (left - aside(z)) * aspect) * scale - width
        ends = np.clip((z - low) / 6, 0, 1) * np.clip((start - z) / 6, 0, 1)
        np.maximum(cover, patch.coverage(distance) * ends, out=cover)
    patch.paint(cover * 0.9, scene.signals.root)


def _draw_root(rng: np.random.Generator, start: float) -> tuple[Table, Table, float, float]:
    # Roots leave the conus, sink to the back of the sac and part one by one to either side.
    low = rng.uniform(-55, 0.75 * start)
    side = rng.choice([-1.0, 1.0])
    knots = np.linspace(low + 25, start, 6)
    back = np.clip(np.linspace(rng.uniform(0.3, 0.8), 0.3, 6) + rng.normal(0, 0.1, 6), 0, 0.85)
    apart = side * np.linspace(rng.uniform(0.05, 0.6), 0.15, 6) + rng.normal(0, 0.05, 6)
    z = np.concatenate([[low], knots])
    deep = Table(z, np.concatenate([[0.3], back]), 6)
    return deep, Table(z, np.concatenate([[side * 0.95], apart]), 6), rng.uniform(0.5, 0.9), low
