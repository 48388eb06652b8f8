"""A spine of boxes whose brightness tells what it is, and a model that reads it off."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_spinesegdiff.inference.arrays import PredictedArray
from nnunetv2_spinesegdiff.labels import IVD, SPINAL_CANAL, VERTEBRAE

BRIGHTNESS = {0: 30, VERTEBRAE: 600, IVD: 800, SPINAL_CANAL: 1000}
SHAPE = (7, 220, 180)
SPACING = (4.0, 1.0, 1.0)
"""(slice, row, column): the model's own pixels, so that nothing is interpolated."""

_PIR = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def spine_labels() -> np.ndarray:
    """(7, 220, 180), slices from the left, rows from the head, columns from the front."""
    labels = np.zeros(SHAPE, np.uint8)
    for level, top in enumerate(range(15, 180, 33)):
        labels[1:6, top : top + 24, 60:92] = VERTEBRAE
        labels[1:6, top + 25 : top + 32 - level % 2, 61:91] = IVD
    labels[2:5, 8:200, 97:111] = SPINAL_CANAL
    return labels


def spine(seed: int = 0) -> sitk.Image:
    """The volume, int16, its array as that of `spine_labels`; noise and seed change its voxels."""
    rng = np.random.default_rng(seed)
    labels = spine_labels()
    brightness = np.array([BRIGHTNESS[label] for label in sorted(BRIGHTNESS)])
    values = brightness[labels] + rng.integers(-15, 15, labels.shape)
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((-12.0, -70.0, 110.0))
    image.SetDirection(_PIR)
    return image


class Reads:
    """Stands for an `ArrayPredictor`: the label of the closest brightness; stage 1 may miss all discs."""

    def __init__(self, stage1_finds_discs: bool = True):
        self.stage1_finds_discs = stage1_finds_discs

    def predict(self, image: np.ndarray, spacing: Any) -> PredictedArray:
        labels = np.array(list(BRIGHTNESS))
        levels = np.array(list(BRIGHTNESS.values())) * 255 / max(BRIGHTNESS.values())
        mask = labels[np.abs(image[..., None] - levels).argmin(-1)].astype(np.uint8)
        mask[image == 0] = 0
        stage1 = mask.copy() if self.stage1_finds_discs else np.where(mask == IVD, 0, mask).astype(np.uint8)
        uncertainty = np.isin(mask, (SPINAL_CANAL, VERTEBRAE, IVD)) * 0.1
        return PredictedArray(mask, stage1, uncertainty.astype(np.float32))


def reading_model(slices: str = "middle", dim: str = "2d", **kwargs: Any) -> Any:
    """Stands for a `SliceModel`."""
    return SimpleNamespace(
        predictor=Reads(**kwargs),
        cut={"slices": slices, "dim": dim},
        finds_midsagittal=(slices, dim) == ("middle", "2d"),
        first_look=nullcontext,
        calibration=None,
        agreement_limit=0.8,
        measure=SimpleNamespace(name="entropy (nats)", highest=0.37),
    )


def write(image: sitk.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path
