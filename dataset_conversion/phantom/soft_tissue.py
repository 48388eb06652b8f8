"""The tissue around the spine: belly, vessels, muscle, fat, skin and the air behind it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter1d

from .anatomy import Anatomy
from .canvas import Points, Scene
from .placement import Spine, Table
from .signals import Signals
from .texture import Texture

_SKIN_MM = 2.0
_FASCIA_MM = 0.7


def soft_tissue(points: Points, pixel: float, scene: Scene) -> np.ndarray:
    """Signal of everything that is not spine.

    Args:
        points: x, y and z in mm, broadcasting to (slices, rows, columns).
        pixel: in-plane sampling distance in mm.

    Returns:
        float32 array (slices, rows, columns).
    """
    x, y, z = points
    x = x - scene.spine.sideways(z)
    signals, belly = scene.signals, scene.anatomy.soft.belly
    back, skin = _fascia_table(scene.spine)(z), skin_table(scene.spine, scene.anatomy)(z)
    front = scene.spine.front(z)
    signal = _body((x, y, z), scene)
    for tube in _vessels(scene.anatomy, x, y, z, front):
        signal = _blend(signal, signals.vessel, 0.9 * _step(-tube, 1.5))
    under_skin = signals.fat * (1 - 0.35 * _threads(scene.texture, x, y, z, (30, 9, 30)))
    signal = _blend(signal, under_skin, _step(y - back, pixel))
    signal = _blend(signal, signals.ligament, _step(_FASCIA_MM - np.abs(y - back), pixel))
    signal = _blend(signal, signals.skin, _step(y - skin + _SKIN_MM, pixel))
    signal = signal * _step(skin - y, pixel)
    return _close_belly(signal, y - front + belly + 0.0006 * (z - 60) ** 2, pixel, signals)


def _body(points: Points, scene: Scene) -> np.ndarray:
    # Muscle is worked out only for columns that reach behind the front of the spine, belly for the others.
    x, y, z = points
    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    columns = np.broadcast_to(y, (*y.shape[:2], shape[2]))
    edges = scene.spine.front(z) + 4
    behind = int((columns.max(axis=(0, 1)) < edges.min() - 1).sum())
    ahead = int((columns.min(axis=(0, 1)) < edges.max() + 1).sum())
    signal = np.empty(shape, np.float32)
    for part in (slice(0, behind), slice(behind, ahead), slice(ahead, shape[2])):
        px, py, pz = (p[..., part] if p.shape[2] > 1 else p for p in points)
        front = scene.spine.front(pz)
        muscle = belly = np.zeros(1, np.float32)
        if part.start >= behind:
            muscle = _muscle((px, py, pz), scene)
        if part.stop <= ahead:
            belly = _belly((px, py, pz), front, scene)
        signal[..., part] = _blend(muscle, belly, _step(front + 4 - py, 2.0))
    return signal


def _fascia_table(spine: Spine) -> Table:
    """y over z of the dorsal fascia behind the spinous tips; it spans the hollows between them."""
    return Table.of(maximum_filter1d(spine.back.values, 81, mode="nearest") + 3.5, 12)


def skin_table(spine: Spine, anatomy: Anatomy) -> Table:
    """y over z of the skin of the back."""
    z = Table.heights()
    low = np.clip((60 - z) / 90, 0, 1)
    buttock = 22 * np.clip((-z - 10) / 70, 0, 1) ** 1.5
    thick = anatomy.soft.fat_behind * (0.75 + 0.25 * np.clip((140 - z) / 140, 0, 1))
    return Table.of(_fascia_table(spine).values + thick + anatomy.soft.fat_low * low + buttock, 18)


def _muscle(points: Points, scene: Scene) -> np.ndarray:
    x, y, z = points
    signals, texture = scene.signals, scene.texture
    streaks = texture(x, y, z, (10, 5, 38)) + 0.5 * texture(x, y, z, (5, 2.5, 14))
    cut = 1.9 - 2.2 * scene.anatomy.soft.muscle_fat
    fat = np.clip((streaks - cut) * 1.2, 0, 1)
    # Between the spinous processes lies ligament with fat, brighter than muscle and coarser.
    midline = np.clip(1.5 - np.abs(x) / 5, 0, 1) * _step(y - scene.spine.canal(z) - 10, 6.0)
    streaky = np.clip(0.38 + 0.32 * texture(x, y, z, (8, 11, 6)), 0, 1)
    fat = fat + midline * (streaky - fat)
    muscle = signals.muscle * (1 + 0.1 * texture(x, y, z, (7, 4, 12)))
    return muscle + fat * (0.85 * signals.fat - muscle)


def _belly(points: Points, front: np.ndarray, scene: Scene) -> np.ndarray:
    x, y, z = points
    signals, texture = scene.signals, scene.texture
    fat = 0.78 * signals.fat * (1 + 0.10 * texture(x, y, z, (14, 10, 12)))
    loops = texture(x, y, z, (40, 30, 26)) + 0.25 * texture(x, y, z, (12, 9, 9))
    inside = np.clip((loops - 0.1) * 3, 0, 1)
    wall = 0.8 * np.clip(1 - np.abs(loops - 0.2) * 4, 0, 1)
    content = signals.bowel * (1 + 0.5 * texture(x, y, z, (17, 15, 13)))
    gas = np.clip((texture(x, y, z, (46, 34, 30)) - (2.2 - 2.4 * scene.anatomy.soft.gas)) * 3, 0, 1)
    content = np.maximum(content * (1 - gas), 0.02)
    # A layer of fat with small vessels lies right in front of the vertebrae.
    away = _step(front - 16 - y, 8.0)
    signal = fat + away * inside * (content - fat)
    signal = signal + away * wall * (0.9 * signals.muscle - signal)
    vessels = _threads(texture, x, y, z, (20, 14, 24))
    signal = signal + 0.4 * vessels * (signals.vessel - signal)
    # Beside the vertebrae runs the psoas.
    psoas = _step(np.abs(x) - 24, 3.0) * _step(y - front + 14, 3.0)
    return _blend(signal, signals.muscle * (1 + 0.1 * texture(x, y, z, (7, 4, 20))), psoas)


def _vessels(
    anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray, front: np.ndarray
) -> list[np.ndarray]:
    # Aorta to the left, vena cava to the right; they divide in front of L4 and part from there.
    radius = anatomy.soft.aorta_radius
    below = np.maximum(38 - z, 0)
    apart = 0.55 * below
    forward = front - radius - 2.5 - 0.0008 * below**2
    # Neither is straight.
    sway = 4 * np.sin(z / 45 + anatomy.soft.belly)
    left = x - anatomy.soft.aorta_left - apart - sway
    right = x - (anatomy.soft.aorta_left - 26) + apart - sway
    small = radius * (1 - 0.3 * np.clip(below / 15, 0, 1))
    cava = np.hypot(right, (y - forward) * 1.2) - small
    aorta = np.hypot(left, y - forward) - small
    # The left iliac vein crosses the midline in front of L5.
    crossing = np.hypot((z - 22 - 0.4 * x), (y - front + 6.5) * 1.4) - 5.5
    return [aorta, cava, np.maximum(crossing, np.abs(x) - 26)]


def _close_belly(signal: np.ndarray, inward: np.ndarray, pixel: float, signals: Signals) -> np.ndarray:
    # From inside: muscle of the belly's wall, fat, skin, air.
    signal = _blend(signal, signals.muscle, _step(26 - inward, pixel))
    signal = _blend(signal, signals.fat, _step(18 - inward, pixel))
    signal = _blend(signal, signals.skin, _step(_SKIN_MM - inward, pixel))
    return signal * _step(inward, pixel)


def _threads(
    texture: Texture, x: np.ndarray, y: np.ndarray, z: np.ndarray, grain: tuple[float, float, float]
) -> np.ndarray:
    # The zero level of a smooth field is a set of thin sheets: septa in fat, vessels in a section.
    return np.clip(1 - np.abs(texture(x, y, z, grain)) * 6, 0, 1)


def _step(depth: np.ndarray, width: float) -> np.ndarray:
    """0 outside, 1 inside, over a border of `width` mm."""
    return np.clip(depth * (1 / width) + 0.5, 0, 1)


def _blend(under: np.ndarray, over: np.ndarray | float, cover: np.ndarray) -> np.ndarray:
    return under + cover * (over - under)
