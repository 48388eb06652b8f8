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
from .canvas import Canvas, Scene
from .discs import paint_disc
from .placement import Spine
from .scanner import scan
from .signals import signals_of
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
    scene = Scene(anatomy, spine, signals, Texture(anatomy.soft.texture_seed))
    samples = _SAMPLES_A_SLICE if acquisition.protocol.slice_step > _THIN_MM else 1
    around = soft_tissue(lattice.points(), lattice.pixel, scene)
    canvas = Canvas(lattice.refined(samples), np.repeat(around, samples, axis=0), spine.sideways)
    _paint_spine(canvas, scene)
    # Partial volume: what lies within a slice's thickness is averaged.
    signal = canvas.signal.reshape(lattice.shape[0], samples, *lattice.shape[1:]).mean(axis=1)
    mask = canvas.label[samples // 2 :: samples]
    if acquisition.zoom == 2:
        signal = _doubled(_doubled(signal, 1), 2)
    image = scan(signal, acquisition.voxels, scene, acquisition.quality)
    return image, mask.repeat(acquisition.zoom, axis=1).repeat(acquisition.zoom, axis=2)


def _paint_spine(canvas: Canvas, scene: Scene) -> None:
    """Everything from the canal to the bones: what is painted later cuts into what was painted before."""
    anatomy = scene.anatomy
    paint_canal(canvas, scene, SPIDER_CANAL)
    for disc in scene.spine.discs:
        paint_disc(canvas, disc, scene, SPIDER_DISCS[disc.level] if disc.level < anatomy.num_discs else 0)
    paint_sacrum(canvas, scene)
    for vertebra in scene.spine.vertebrae:
        numbers = SPIDER_VERTEBRAE if vertebra.level < anatomy.visible else SPIDER_PARTIAL_VERTEBRAE
        numbered = vertebra.level < anatomy.num_vertebrae
        paint_vertebra(canvas, vertebra, scene, numbers[vertebra.level] if numbered else 0)


def _doubled(signal: np.ndarray, axis: int) -> np.ndarray:
    # New samples lie a quarter of the old spacing to either side of the old ones: linear interpolation.
    signal = np.moveaxis(signal, axis, -1)
    padded = np.concatenate([signal[..., :1], signal, signal[..., -1:]], axis=-1)
    out = np.empty((*signal.shape[:-1], 2 * signal.shape[-1]), np.float32)
    out[..., 0::2] = 0.75 * signal + 0.25 * padded[..., :-2]
    out[..., 1::2] = 0.75 * signal + 0.25 * padded[..., 2:]
    return np.moveaxis(out, -1, axis)
