"""Trainers for sagittal slices of mixed contrasts: what is known of such images, and AdamW for stage 1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

from .optimizers import WarmUpAndCosine
from .random_contrast import RandomContrastTransform
from .suffixed import SuffixedTrainer
from .trainer import nnUNetTrainerSpineSegDiff

MAX_ROTATION = np.deg2rad(15)
RANDOM_CONTRAST_PROBABILITY = 0.25

DRAWS_PER_SERIES = 60
_SLICE = re.compile(r"_s\d+$")


class SagittalTraining(SuffixedTrainer):
    """Augmentation and sampling for cases of `spinesegdiff convert --slices each`.

    The head is always up and the front always left, so nothing is mirrored, in training or prediction, and
    rotations stay below 15 degrees. Contrasts are random (see `RandomContrastTransform`). Every series is
    drawn equally often, however many of its slices are cases.
    """

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """Stock, without mirroring and with little rotation in the sagittal plane."""
        rotation, dummy_2d, initial_patch_size, _ = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        self.inference_allowed_mirroring_axes = None
        patch_size = self.configuration_manager.patch_size
        if len(patch_size) == 2:
            rotation = (-MAX_ROTATION, MAX_ROTATION)
            initial_patch_size = get_patch_size(patch_size, rotation, rotation, rotation, (0.85, 1.25))
        return rotation, dummy_2d, initial_patch_size, None

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Stock, with random contrasts behind the spatial transform."""
        composed = super().get_training_transforms(*args, **kwargs)
        names = [type(transform).__name__ for transform in composed.transforms]
        random_contrast = RandomTransform(RandomContrastTransform(), RANDOM_CONTRAST_PROBABILITY)
        composed.transforms.insert(names.index("SpatialTransform") + 1, random_contrast)
        return composed

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Stock; nnU-Net's loader draws uniformly from `identifiers`, so these are repeated."""
        training, validation = super().get_tr_and_val_datasets()
        training.identifiers = balanced(training.identifiers)
        return training, validation


def balanced(cases: Sequence[str]) -> list[str]:
    """Cases repeated so that every series occurs about equally often (within 5 % for up to 10 slices).

    Args:
        cases: names of `spinesegdiff convert`; `SPIDER_005_t2_SPACE_s03` belongs to `SPIDER_005_t2_SPACE`.
    """
    slices = Counter(_SLICE.sub("", case) for case in cases)
    return [
        case for case in cases for _ in range(max(1, round(DRAWS_PER_SERIES / slices[_SLICE.sub("", case)])))
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
    """SpineSegDiff trained on sagittal slices of mixed contrasts."""
