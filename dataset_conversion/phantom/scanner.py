"""From the tissue's signal to the scanner's image: coil, saturation band, blur, ghost, noise, rounding."""

from __future__ import annotations

import numpy as np

from .acquisition import Quality
from .canvas import Lattice, Scene
from .soft_tissue import skin_table

_INT16_MAX = 32767


def scan(signal: np.ndarray, lattice: Lattice, scene: Scene, quality: Quality) -> np.ndarray:
    """Image of a signal.

    Args:
        signal: float32 (slices, rows, columns), 0 to about 1.
        lattice: its samples in the patient's frame.

    Returns:
        int16 of the same shape, from 0 up.
    """
    received = signal * _sensitivity(lattice, scene, quality)
    received = _blurred(received, quality.blur)
    if quality.ghost:
        shift = round(quality.ghost_shift * signal.shape[1])
        received = received + quality.ghost * np.roll(received, shift, axis=1)
    rng = np.random.default_rng(quality.seed)
    noisy = received + quality.noise * rng.standard_normal(signal.shape, np.float32)
    # Magnitude of a complex signal with noise in both parts: Rician.
    other = quality.noise * rng.standard_normal(signal.shape, np.float32)
    magnitude = np.sqrt(noisy * noisy + other * other) * quality.level
    return np.clip(np.rint(magnitude), 0, _INT16_MAX).astype(np.int16)


def _sensitivity(lattice: Lattice, scene: Scene, quality: Quality) -> np.ndarray:
    """What the coil receives of each sample, about 1 at the canal; broadcasts to the lattice's shape."""
    _, y, z = lattice.points()
    spine = scene.spine
    skin = skin_table(spine, scene.anatomy)(z)
    depth, canal = np.maximum(skin - y, 0), skin - spine.canal(z)
    fall = np.exp(np.clip((canal - depth) / quality.coil_reach, -4, 0.9))
    received = 1 + quality.coil * (fall - 1)
    band = np.clip((spine.front(z) - 6 - y) / 28, 0, 1)
    received = received * (1 - quality.saturation * band)
    # The coil ends above and below.
    ends = np.linspace(-1, 1, lattice.shape[1], dtype=np.float32)[None, :, None]
    received = received * (1 - 0.25 * np.float32(quality.coil) * ends**4)
    for axis, (count, tilt) in enumerate(zip(lattice.shape, quality.shading, strict=True)):
        ramp = np.linspace(-1, 1, count, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        received = received * (1 + tilt * ramp)
    return received


def _blurred(image: np.ndarray, weight: float) -> np.ndarray:
    w = np.float32(weight)
    for axis in (1, 2):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = (padded[:, :-2], padded[:, 2:]) if axis == 1 else (padded[..., :-2], padded[..., 2:])
        image = (1 - 2 * w) * image + w * (before + after)
    return image
