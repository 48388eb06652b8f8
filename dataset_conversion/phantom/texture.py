"""Smooth random fields fixed to the patient, so that every series of a patient shows the same texture."""

from __future__ import annotations

import numpy as np

_SIZE = 128
_CORRELATION_VOXELS = 10.0


class Texture:
    """A periodic random field of mean 0 and standard deviation 1 in three dimensions."""

    def __init__(self, seed: int) -> None:
        white = np.random.default_rng(seed).standard_normal((_SIZE,) * 3)
        frequency = np.fft.fftfreq(_SIZE)
        response = np.exp(-2 * (np.pi * _CORRELATION_VOXELS * frequency) ** 2)
        kernel = response[:, None, None] * response[:, None] * response[: _SIZE // 2 + 1]
        field = np.fft.irfftn(np.fft.rfftn(white) * kernel, s=(_SIZE,) * 3, axes=(0, 1, 2))
        self._field = ((field - field.mean()) / field.std()).astype(np.float32)

    def __call__(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, grain_mm: tuple[float, float, float]
    ) -> np.ndarray:
        """Field at points.

        Args:
            x, y, z: coordinates in mm, shapes that broadcast.
            grain_mm: size of its blobs along x, y and z (about two correlation lengths).

        Returns:
            float32 array of the broadcast shape.
        """
        index = [
            (points * np.float32(2 * _CORRELATION_VOXELS / grain)).astype(np.int32) & (_SIZE - 1)
            for points, grain in zip((x, y, z), grain_mm, strict=True)
        ]
        return self._field[tuple(index)]
