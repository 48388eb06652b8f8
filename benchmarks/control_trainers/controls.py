"""Trainers that exist to be compared with. nnU-Net finds them through nnUNet_extTrainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nnunetv2_spinesegdiff.network.two_stage import TwoStageNetwork
from nnunetv2_spinesegdiff.training.sagittal import nnUNetTrainerStage1Sagittal
from nnunetv2_spinesegdiff.training.trainer import nnUNetTrainerSpineSegDiff
from nnunetv2_spinesegdiff.training.trainers import with_suffixes


class WithoutPresegmentation(TwoStageNetwork):
    """The refiner sees an image and, whatever stage 1 says, an empty mask."""

    def presegment(self, image: Tensor) -> Tensor:
        if not self.refine_predictions:
            return super().presegment(image)
        return _empty(image.new_zeros((image.shape[0], self.num_heads, *image.shape[2:])))


class nnUNetTrainerWithoutPresegmentation(nnUNetTrainerSpineSegDiff):
    """SpineSegDiff trained on and sampled from empty presegmentations."""

    network_class = WithoutPresegmentation

    def _x_start(self, target: Tensor, stage1_logits: Tensor | None) -> Tensor:
        assert stage1_logits is not None
        return _empty(torch.zeros_like(stage1_logits))


class nnUNetTrainerStage1SagittalPlainContrast(nnUNetTrainerStage1Sagittal):
    """Stage 1 without random contrasts."""

    random_contrast_probability = 0.0


BASES = {
    cls.__name__: cls
    for cls in (nnUNetTrainerWithoutPresegmentation, nnUNetTrainerStage1SagittalPlainContrast)
}


def __getattr__(name: str) -> Any:
    return with_suffixes(name, BASES, __name__)


def _empty(masks: Tensor) -> Tensor:
    masks[:, 0] = 1
    return masks
