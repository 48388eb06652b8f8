"""A spine of rectangles of known sizes, drawn on any grid and at any angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_spinesegdiff.labels import BACKGROUND, IVD, SPINAL_CANAL, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.measuring.measure import measure_slice

CENTRE = (130.0, 110.0)
SIZE_MM = (260.0, 220.0)


@dataclass(frozen=True)
class DrawnSpine:
    """Bodies and discs in turn, lowest first, the lowest a disc; canal and spinous processes behind.

    Attributes:
        discs: their heights in mm at the middle; wedge: how much higher a disc is at the front, in mm.
        body, depth: height and depth of the bodies, mm.
        canal: depth of the canal, mm; gap: between bodies and canal.
        angle: by which all is turned, degrees.
        shift: of the middle, mm.
    """

    discs: tuple[float, ...] = (8.0, 10.0, 6.0, 2.5, 9.0)
    wedge: float = 0.0
    body: float = 26.0
    depth: float = 34.0
    canal: float = 14.0
    gap: float = 3.0
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)

    def local(self, spacing: tuple[float, float] = (1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
        """(up, back) in mm of every pixel's middle, from the middle of the spine's bodies."""
        rows, columns = (round(size / step) for size, step in zip(SIZE_MM, spacing, strict=True))
        down = (np.arange(rows) + 0.5)[:, None] * spacing[0] - CENTRE[0] - self.shift[0]
        back = (np.arange(columns) + 0.5) * spacing[1] - CENTRE[1] - self.shift[1]
        sin, cos = np.sin(np.radians(self.angle)), np.cos(np.radians(self.angle))
        return -cos * down + sin * back, sin * down + cos * back

    def bottoms(self) -> list[float]:
        """Height of the lower edge of each disc over the lowest, mm."""
        steps = [0.0, *(disc + self.body for disc in self.discs[:-1])]
        total = sum(self.discs) + self.body * len(self.discs)
        return [float(bottom - total / 2) for bottom in np.cumsum(steps)]

    def mask(self, spacing: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
        """Labels (H, W)."""
        numbers = self.numbers(spacing)
        classes = [numbers == 0, numbers < 100, numbers == 100]
        return np.select(classes, [BACKGROUND, VERTEBRAE, SPINAL_CANAL], IVD).astype(np.uint8)

    def numbers(self, spacing: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
        """SPIDER's numbers (H, W): vertebrae from 1, the lowest, discs from 201, canal 100."""
        up, back = self.local(spacing)
        numbers = np.zeros(up.shape, np.uint8)
        column = np.abs(back) < self.depth / 2
        front = self.depth / 2 + self.gap
        length = sum(self.discs) + self.body * len(self.discs)
        numbers[(back > front) & (back < front + self.canal) & (np.abs(up) < length / 2 + 8)] = 100
        for number, (bottom, disc) in enumerate(zip(self.bottoms(), self.discs, strict=True), start=1):
            top = bottom + disc
            numbers[column & (up >= top) & (up < top + self.body)] = number
            # Wedges take from the bodies what they add to the disc.
            half = disc / 2 - self.wedge / 2 * back / (self.depth / 2)
            numbers[column & (np.abs(up - bottom - disc / 2) < half)] = 200 + number
            process = (back > front + self.canal + 2) & (back < front + self.canal + 30)
            numbers[process & (up > top) & (up < top + 14)] = number
        return numbers


def image_of(mask: np.ndarray, disc: float = 80.0, fluid: float = 160.0) -> np.ndarray:
    """Signals by label, and something brighter at the back."""
    image = np.full(mask.shape, 40.0)
    image[mask == IVD] = disc
    image[mask == SPINAL_CANAL] = fluid
    image[:, -5:] = 255.0
    return image


MM = (1.0, 1.0)


def rows_of(rows: list[dict], structure: str) -> list[dict]:
    """Rows of single discs or vertebrae, from below."""
    return [row for row in rows if row["structure"] == structure and row["number"] is not None]


def measured(mask: np.ndarray, **more: Any) -> list[dict]:
    return measure_slice(mask, image_of(mask), MM, **more)
