"""Painting vertebrae and the sacrum."""

from __future__ import annotations

import numpy as np

from .anatomy import Endplate
from .canvas import Canvas, Patch, Scene
from .placement import PlacedVertebra, SacralSegment
from .shapes import capsule, rounded_box, rounded_intersection, smooth_union, superellipse

_CORTEX_MM = 0.55
_RIM_RADIUS_MM = 2.6


def paint_vertebra(canvas: Canvas, vertebra: PlacedVertebra, scene: Scene, label: int) -> None:
    """Body, pedicles, articular pillars, laminae, spinous and transverse processes, one label for all.

    Args:
        label: SPIDER number; 0 for a vertebra without one, of which only the body is painted.
    """
    if label:
        _paint_posterior(canvas, vertebra, scene, label)
    _paint_body(canvas, vertebra, scene, label)


def _paint_body(canvas: Canvas, vertebra: PlacedVertebra, scene: Scene, label: int) -> None:
    shape, frame = vertebra.shape, vertebra.frame
    signals, texture = scene.signals, scene.texture
    tall = shape.height / 2 + shape.depth / 2 * abs(np.tan(shape.wedge / 2)) + 2
    reach = frame.reach(shape.depth / 2 + shape.spur + 2, tall)
    patch = canvas.around(frame.y, frame.z, (shape.width / 2 + 2, *reach))
    if patch is None:
        return
    x, y, z = patch.points
    front, up = frame.local(y, z)
    distance, to_upper, to_lower = body_distance(vertebra, front, up, x)
    marrow = signals.marrow * shape.shade * (1 + 0.06 * texture(x, y, z, (5, 4, 4)))
    marrow = marrow + 0.03 * texture(x, y, z, (9, 14, 14))
    for endplate, depth in ((shape.upper, to_upper), (shape.lower, to_lower)):
        if endplate.modic:
            stain = np.clip(0.8 + 0.5 * texture(x, y, z, (16, 16, 40)), 0, 1)
            deep = endplate.modic_reach
            near = np.clip((1.35 * deep - depth) / (0.7 * deep), 0, 1)
            marrow = marrow + signals.modic[endplate.modic] * stain * near
    # The basivertebral vein enters at the middle of the posterior wall.
    behind = front + shape.depth / 2
    spread = 1.2 + 0.22 * np.maximum(11 - behind, 0)
    vein = np.clip(1.4 - np.abs(up) / spread, 0, 1) * np.clip((11 - behind) / 5, 0, 1)
    vein = vein * np.clip(1.6 - np.abs(x) / 6, 0, 1)
    marrow = marrow + vein * (signals.vein - marrow)
    _paint_bone(patch, distance, marrow, scene, label)


def _paint_bone(
    patch: Patch, distance: np.ndarray, marrow: np.ndarray, scene: Scene, label: int, cortex: float = 1.0
) -> None:
    shell = cortex * patch.coverage(-distance - _CORTEX_MM)
    patch.paint(patch.coverage(distance), marrow + shell * (scene.signals.cortex - marrow), label)


def body_distance(
    vertebra: PlacedVertebra, front: np.ndarray, up: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signed distance to a vertebral body, and the depths under its upper and lower endplates, in mm."""
    shape = vertebra.shape
    half_height = shape.height / 2 + np.float32(np.tan(shape.wedge / 2)) * front
    at = np.clip(np.abs(up) / half_height, 0, 1)
    hollow = 1 - shape.waist * (1 - at * at)
    # Spurs grow forward from the rims, above and below.
    rim = np.where(front > 0, np.clip((at - 0.72) / 0.28, 0, 1) ** 2 * shape.spur, 0)
    half_depth = shape.depth / 2 * hollow + rim
    radius = superellipse(front, left, half_depth, shape.width / 2 * hollow, 3)
    wall = (radius - 1) * half_depth
    # The posterior wall is flat or slightly hollow across: it makes the canal's front.
    flat = -front - half_depth * 0.97
    wall = np.maximum(wall, flat)
    inner = np.clip(1 - radius**2, 0, 1)
    to_upper = half_height - up - _dip(shape.upper, inner, front, left)
    to_lower = half_height + up - _dip(shape.lower, inner, front, left)
    caps = -np.minimum(to_upper, to_lower)
    return rounded_intersection(wall, caps, _RIM_RADIUS_MM), to_upper, to_lower


def _dip(endplate: Endplate, inner: np.ndarray, front: np.ndarray, left: np.ndarray) -> np.ndarray:
    dip = endplate.dish * inner
    if endplate.node_depth:
        df, dl = front - endplate.node_front, left - endplate.node_left
        dip = dip + endplate.node_depth * np.exp(-(df**2 + dl**2) / endplate.node_radius**2)
    phase = endplate.node_front
    return dip + endplate.waves * np.sin(front * 0.55 + phase) * np.cos(left * 0.4 + phase)


def _paint_posterior(canvas: Canvas, vertebra: PlacedVertebra, scene: Scene, label: int) -> None:
    shape, frame = vertebra.shape, vertebra.frame
    signals, texture = scene.signals, scene.texture
    half_length = 26 + shape.spinous_length / 2
    drop = np.sin(shape.spinous_drop) * shape.spinous_length
    centre = frame.at(-shape.depth / 2 - half_length + 6, -4 - drop / 2)
    patch = canvas.around(*centre, (42, *frame.reach(half_length, 19 + drop / 2)))
    if patch is None:
        return
    x, y, z = patch.points
    front, up = frame.local(y, z)
    behind = front + shape.depth / 2
    distance = _posterior_distance(vertebra, behind, up, x)
    marrow = signals.marrow * shape.shade * 1.1 * (1 + 0.1 * texture(x, y, z, (5, 4, 4)))
    marrow = marrow + 0.07 * signals.fat * texture(x, y, z, (20, 18, 18))
    _paint_bone(patch, distance, marrow, scene, label, cortex=0.8)


def _posterior_distance(
    vertebra: PlacedVertebra, behind: np.ndarray, up: np.ndarray, left: np.ndarray
) -> np.ndarray:
    # Coordinates: behind is 0 at the posterior wall and negative further back; both sides are mirror images.
    shape = vertebra.shape
    side = np.abs(left)
    points = (behind, up, side)
    apart = shape.pedicles
    pedicle = capsule(points, (4, 5.5, apart), (-12, 4.5, apart + 0.5), 4.0, stretch=1.6)
    pillar = capsule(points, (-14, 14, apart + 2.5), (-19, -17, apart - 1), 4.6)
    lamina = capsule(points, (-17, -5, apart - 1), (-23.5, -8, 0.0), 3.2, stretch=2.6)
    process = capsule(points, (-14, 4, apart + 2), (-18, 5, 40.0), 3.0, stretch=1.5)
    distance = smooth_union(np.minimum(pedicle, process), smooth_union(pillar, lamina, 3), 3)
    return smooth_union(distance, _spinous_distance(vertebra, behind, up, left), 6)


def _spinous_distance(
    vertebra: PlacedVertebra, behind: np.ndarray, up: np.ndarray, left: np.ndarray
) -> np.ndarray:
    shape = vertebra.shape
    sin, cos = np.float32(np.sin(shape.spinous_drop)), np.float32(np.cos(shape.spinous_drop))
    back, high = -behind - 19, up + 5
    along, across = back * cos - high * sin, back * sin + high * cos
    # Taller and thicker towards the tip.
    share = np.clip(along / shape.spinous_length, 0, 1)
    half_height = shape.spinous_height / 2 * (0.72 + 0.33 * share)
    radius = superellipse(
        along - shape.spinous_length / 2,
        across + 3 * share,
        shape.spinous_length / 2 + 2.5,
        half_height,
        4,
    )
    blade = np.abs(left) - 2.4 - 1.6 * share
    return rounded_intersection((radius - 1) * half_height, blade, 2.0)


def paint_sacrum(canvas: Canvas, scene: Scene) -> None:
    """Sacral bodies, the remnants of their discs and the crest behind the sacral canal, all of label 0."""
    signals, texture = scene.signals, scene.texture
    for number, segment in enumerate(scene.spine.sacrum):
        reach = segment.depth_above / 2 + segment.height / 2 + 24
        patch = canvas.around(segment.frame.y, segment.frame.z, (segment.width / 2 + 3, reach, reach))
        if patch is None:
            continue
        x, y, z = patch.points
        front, up = segment.frame.local(y, z)
        marrow = signals.marrow * 1.05 * (1 + 0.07 * texture(x, y, z, (5, 4, 4)))
        slab = _sacral_distance(segment, front, up, x)
        if number:
            gap = _remnant_distance(segment, front, up, x)
            patch.paint(patch.coverage(gap), 0.5 * (signals.nucleus[2] + signals.annulus[0]), 0)
        distance = np.minimum(slab, _crest_distance(segment, front, up, x))
        _paint_bone(patch, distance, marrow, scene, 0)


def _sacral_distance(
    segment: SacralSegment, front: np.ndarray, up: np.ndarray, left: np.ndarray
) -> np.ndarray:
    share = np.clip(up / segment.height + 0.5, 0, 1)
    change = segment.depth_above - segment.depth_below
    half_depth = (segment.depth_below + change * share) / 2 - 4 * share * (1 - share)
    radius = superellipse(front, left, half_depth, segment.width / 2, 4)
    return rounded_intersection((radius - 1) * half_depth, np.abs(up) - segment.height / 2, 2.0)


def _remnant_distance(
    segment: SacralSegment, front: np.ndarray, up: np.ndarray, left: np.ndarray
) -> np.ndarray:
    radius = superellipse(front, left, 0.42 * segment.depth_above, 0.4 * segment.width, 4)
    above = np.abs(up - (segment.height / 2 + 1.2)) - 1.8
    return rounded_intersection((radius - 1) * (segment.depth_above * 0.42), above, 1.0)


def _crest_distance(
    segment: SacralSegment, front: np.ndarray, up: np.ndarray, left: np.ndarray
) -> np.ndarray:
    share = np.clip(up / segment.height + 0.5, 0, 1)
    half_depth = (segment.depth_below + (segment.depth_above - segment.depth_below) * share) / 2
    behind = -front - half_depth - 14
    points = (behind, up, left * 0.5)
    return rounded_box(points, (3.0, segment.height * 0.36, 7.0), 2.9)
