"""One series of one patient: tissue painted on a lattice, averaged over the slices, scanned."""

from __future__ import annotations

import numpy as np

from nnunetv2_spinesegdiff.labels import (
    SPIDER_CANAL,
    SPIDER_DISCS,
    SPIDER_PARTIAL_VERTEBRAE,
    SPIDER_VERTEBRAE,
)

from .acquisition import Acquisition
from .anatomy import Anatomy
from .bones import paint_sacrum, paint_vertebra
from .canal import paint_canal
from .canvas import Canvas
from .discs import paint_disc
from .placement import Spine
from .scanner import scan
from .signals import Signals, signals_of
from .soft_tissue import soft_tissue
from .texture import Texture

# Samples through a thick slice: odd, so that the middle one gives the label.
_SAMPLES_A_SLICE = 3
_THIN_MM = 1.5


def render(anatomy: Anatomy, spine: Spine, acquisition: Acquisition) -> tuple[np.ndarray, np.ndarray]:
    """Render a series.

    Returns:
        (image, mask), both (slices, rows, columns): int16 in the scanner's units, and uint8 SPIDER numbers
        taken at the middle of each slice.
    """
    lattice = acquisition.lattice
    signals = signals_of(acquisition.sequence, anatomy)
    texture = Texture(anatomy.soft.texture_seed)
    samples = _SAMPLES_A_SLICE if acquisition.protocol.slice_step > _THIN_MM else 1
    around = soft_tissue(lattice.points(), lattice.pixel, spine, anatomy, signals, texture)
    canvas = Canvas(lattice.refined(samples), np.repeat(around, samples, axis=0), spine.sideways)
    paint_spine(canvas, spine, anatomy, signals, texture)
    # Partial volume: what lies within a slice's thickness is averaged.
    signal = canvas.signal.reshape(lattice.shape[0], samples, *lattice.shape[1:]).mean(axis=1)
    mask = canvas.label[samples // 2 :: samples]
    image = scan(_zoomed(signal, acquisition.zoom), acquisition.voxels, spine, anatomy, acquisition.quality)
    return image, mask.repeat(acquisition.zoom, axis=1).repeat(acquisition.zoom, axis=2)


def paint_spine(canvas: Canvas, spine: Spine, anatomy: Anatomy, signals: Signals, texture: Texture) -> None:
    """Everything from the canal to the bones: what is painted later cuts into what was painted before."""
    paint_canal(canvas, spine, anatomy, signals, texture, SPIDER_CANAL)
    for disc in spine.discs:
        paint_disc(canvas, disc, signals, texture, _disc_number(disc.level, anatomy))
    paint_sacrum(canvas, spine.sacrum, signals, texture)
    for vertebra in spine.vertebrae:
        number = _vertebra_number(vertebra.level, anatomy)
        paint_vertebra(canvas, vertebra, signals, texture, number, posterior=number > 0)


def _vertebra_number(level: int, anatomy: Anatomy) -> int:
    if level < anatomy.visible:
        return SPIDER_VERTEBRAE[level]
    return SPIDER_PARTIAL_VERTEBRAE[level] if anatomy.partial else 0


def _disc_number(level: int, anatomy: Anatomy) -> int:
    return SPIDER_DISCS[level] if level < anatomy.num_discs else 0


def _zoomed(signal: np.ndarray, zoom: int) -> np.ndarray:
    if zoom == 1:
        return signal
    for axis in (1, 2):
        signal = _doubled(signal, axis)
    return signal


def _doubled(signal: np.ndarray, axis: int) -> np.ndarray:
    # New samples lie a quarter of the old spacing to either side of the old ones: linear interpolation.
    signal = np.moveaxis(signal, axis, -1)
    padded = np.concatenate([signal[..., :1], signal, signal[..., -1:]], axis=-1)
    out = np.empty((*signal.shape[:-1], 2 * signal.shape[-1]), np.float32)
    out[..., 0::2] = 0.75 * signal + 0.25 * padded[..., :-2]
    out[..., 1::2] = 0.75 * signal + 0.25 * padded[..., 2:]
    return np.moveaxis(out, -1, axis)
