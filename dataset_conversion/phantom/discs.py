"""Painting intervertebral discs; their vertebrae are painted over them afterwards and cut them to shape."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Scene
from .placement import PlacedDisc
from .shapes import rounded_intersection, smooth_union, superellipse


def paint_disc(canvas: Canvas, disc: PlacedDisc, scene: Scene, label: int) -> None:
    """Annulus, nucleus with its cleft, bulge and herniation."""
    out = max(disc.shape.bulge, 0) + disc.shape.hernia
    tall = disc.shape.height / 2 + max(9.0, disc.depth / 2 * abs(np.tan(disc.shape.wedge / 2)) + 1)
    reach = disc.frame.reach(disc.depth / 2 + out + 1, tall)
    patch = canvas.around(disc.frame.y, disc.frame.z, (disc.width / 2 + 3, *reach))
    if patch is None:
        return
    x, y, z = patch.points
    front, up = disc.frame.local(y, z)
    distance, radius = disc_distance(disc, front, up, x)
    grade, texture = disc.shape.grading.pfirrmann, scene.texture
    annulus = scene.signals.annulus[grade - 1]
    nucleus = scene.signals.nucleus[grade - 1] * disc.shape.shade
    # The outermost fibres are the darkest.
    outer = np.clip((radius - 0.8) / 0.2, 0, 1)
    signal = annulus * (1 - 0.45 * outer)
    core = _nucleus(disc, front, up, x, texture(x, y, z, (8, 6, 5)))
    signal = signal + core * (nucleus - signal)
    if disc.shape.hernia:
        gone = np.clip((-front - (disc.depth / 2 + disc.shape.bulge)) / 2, 0, 1)
        signal = signal + gone * (0.6 * annulus + 0.4 * nucleus - signal)
    patch.paint(patch.coverage(distance), signal * (1 + 0.05 * texture(x, y, z, (4, 3, 3))), label)


def disc_distance(
    disc: PlacedDisc, front: np.ndarray, up: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance in mm to a disc that reaches into its endplates, and the relative radius."""
    shape = disc.shape
    bulge = np.float32(shape.bulge)
    half_depth = disc.depth / 2 + np.where(front < 0, bulge, np.float32(0.5) * bulge)
    half_width = disc.width / 2 + 0.6 * max(shape.bulge, 0)
    radius = superellipse(front, left, half_depth, half_width, 3)
    wall = np.maximum((radius - 1) * half_depth, -front - half_depth * 0.97)
    # Between the rims the height is the gap; further in, the endplates' dishes and dents add to it.
    gap = shape.height / 2 + np.float32(np.tan(shape.wedge / 2)) * front
    inner = np.clip(1.15 - radius, 0, 1)
    half_height = np.maximum(gap, 0.9) + 7.5 * np.minimum(inner * 2.5, 1)
    distance = rounded_intersection(wall, np.abs(up) - half_height, min(2.0, shape.height / 3))
    if shape.hernia:
        distance = smooth_union(distance, _hernia_distance(disc, front, up, left), 2.0)
    return distance, radius


def _hernia_distance(disc: PlacedDisc, front: np.ndarray, up: np.ndarray, left: np.ndarray) -> np.ndarray:
    shape = disc.shape
    long = shape.hernia / 2 + 2.5
    tall, wide = 2.2 + 0.4 * shape.height + 0.25 * shape.hernia, 5.0 + 0.6 * shape.hernia
    df = front + (disc.depth / 2 + shape.bulge + shape.hernia - long)
    du, dl = up - shape.hernia_up, left - shape.hernia_left
    radius = np.sqrt((df / long) ** 2 + (du / tall) ** 2 + (dl / wide) ** 2)
    return (radius - 1) * min(long, tall)


def _nucleus(
    disc: PlacedDisc, front: np.ndarray, up: np.ndarray, left: np.ndarray, grain: np.ndarray
) -> np.ndarray:
    shape = disc.shape
    grade = shape.grading.pfirrmann
    # It sits a little behind the middle; its border blurs with degeneration.
    centred = superellipse(front + 1.5, left, disc.depth * 0.475, disc.width * 0.46, 2)
    blur = (0.30, 0.36, 0.5, 0.6, 0.6)[grade - 1]
    flat = up / (shape.height / 2 + 2.5)
    core = np.clip((0.95 - np.sqrt(centred**2 + 0.4 * flat**2)) / blur, 0, 1)
    if grade in (2, 3):
        width = 0.7 + 0.05 * shape.height
        cleft = shape.cleft * np.clip(1.3 - np.abs(up) / width, 0, 1)
        core = core * (1 - cleft * np.clip(1.4 - centred * 1.8, 0, 1))
    unrest = (0.04, 0.08, 0.25, 0.3, 0.3)[grade - 1]
    return np.clip(core * (1 + unrest * grain), 0, 1.3)
