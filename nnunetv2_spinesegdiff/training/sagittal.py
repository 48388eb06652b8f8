"""Trainers for sagittal slices of mixed contrasts: augmentation, sampling, and AdamW for stage 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

from ..dataset_conversion.names import without_slice
from ..diffusion.settings import SamplerSettings
from .optimizers import WarmUpAndCosine
from .suffixed import SuffixedTrainer
from .trainer import nnUNetTrainerSpineSegDiff

MAX_ROTATION = np.deg2rad(15)

DRAWS_PER_SLICE = 6
"""Of the longest series; more make the draws of the others more even."""


class SagittalTraining(SuffixedTrainer):
    """Augmentation and sampling for cases of `spinesegdiff convert --slices each`.

    The head is always up and the front always left, so nothing is mirrored, in training or prediction, and
    rotations stay below 15 degrees. A series with many slices is drawn about as often as one with a single
    slice.
    """

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """Stock, without mirroring and with little rotation."""
        _, dummy_2d, _, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        patch_size = self.configuration_manager.patch_size
        rotation = (-MAX_ROTATION, MAX_ROTATION)
        initial_patch_size = get_patch_size(patch_size, rotation, rotation, rotation, (0.85, 1.25))
        if dummy_2d:
            initial_patch_size[0] = patch_size[0]
        return rotation, dummy_2d, initial_patch_size, None

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Stock; nnU-Net's loader draws uniformly from `identifiers`, so these are repeated."""
        training, validation = super().get_tr_and_val_datasets()
        training.identifiers = repeat_by_series(training.identifiers)
        return training, validation


def repeat_by_series(cases: Sequence[str]) -> list[str]:
    """Repeat cases so that every series occurs about equally often (within 10 % of the mean).

    Args:
        cases: names of `spinesegdiff convert`; `SPIDER_005_t2_SPACE_s03` belongs to `SPIDER_005_t2_SPACE`.
    """
    series = [without_slice(case) for case in cases]
    slices = Counter(series)
    per_series = DRAWS_PER_SLICE * max(slices.values(), default=1)
    return [
        case
        for case, name in zip(cases, series, strict=True)
        for _ in range(round(per_series / slices[name]))
    ]


class nnUNetTrainerStage1Sagittal(SagittalTraining):
    """nnU-Net's trainer with AdamW: in short trainings SGD learns the discs much later."""

    initial_adamw_lr = 1e-3

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """AdamW, with warm-up and half a cosine."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.initial_adamw_lr, weight_decay=1e-2, fused=True
        )
        return optimizer, WarmUpAndCosine(optimizer, self.initial_adamw_lr, self.num_epochs)


class nnUNetTrainerSpineSegDiffSagittal(SagittalTraining, nnUNetTrainerSpineSegDiff):
    """SpineSegDiff trained on sagittal slices of mixed contrasts; predicts the mean of both stages."""

    sampler = SamplerSettings(stage1_weight=0.5)
