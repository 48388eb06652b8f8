"""Trainers that exist to be compared with. nnU-Net finds them through nnUNet_extTrainer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor

from nnunetv2_spinesegdiff.diffusion.settings import SamplerSettings
from nnunetv2_spinesegdiff.network.denoiser import encode
from nnunetv2_spinesegdiff.network.two_stage import TwoStageNetwork
from nnunetv2_spinesegdiff.training.optimizers import WarmUpAndCosine
from nnunetv2_spinesegdiff.training.sagittal import (
    nnUNetTrainerSpineSegDiffSagittal,
    nnUNetTrainerStage1Sagittal,
)
from nnunetv2_spinesegdiff.training.trainer import nnUNetTrainerSpineSegDiff
from nnunetv2_spinesegdiff.training.trainers import with_suffixes


class WithoutPresegmentation(TwoStageNetwork):
    """The refiner sees an image and, whatever stage 1 says, an empty mask."""

    def presegment(self, image: Tensor) -> Tensor:
        if not self.refine_predictions:
            return super().presegment(image)
        return _empty(image.new_zeros((image.shape[0], self.num_heads, *image.shape[2:])))


class EmptyPresegmentations(nnUNetTrainerSpineSegDiff):
    """Trains on and samples from empty presegmentations."""

    network_class = WithoutPresegmentation

    def _x_start(self, target: Tensor, stage1_logits: Tensor | None) -> Tensor:
        assert stage1_logits is not None
        return _empty(torch.zeros_like(stage1_logits))


class nnUNetTrainerWithoutPresegmentation(EmptyPresegmentations):
    """SpineSegDiff without presegmentations."""


class nnUNetTrainerRefiner(nnUNetTrainerSpineSegDiffSagittal):
    """SpineSegDiff from new weights, with the optimizer of stage 1; predicts the refined result alone."""

    sampler = SamplerSettings()
    starts_from_stage1 = False

    def _denoiser_schedule(self, optimizer: torch.optim.Optimizer, lr: float) -> WarmUpAndCosine:
        return WarmUpAndCosine(optimizer, lr, self.num_epochs)


class nnUNetTrainerRefinerWithoutPresegmentation(EmptyPresegmentations, nnUNetTrainerRefiner):
    """The refiner without presegmentations: a second network of the refiner's shape."""


class nnUNetTrainerRefinerUndamaged(nnUNetTrainerRefiner):
    """The refiner trained on presegmentations as they are."""

    clean_share = 1.0


class OnStage1Encoder(TwoStageNetwork):
    """The frozen stage 1's encoder in the place of the refiner's image encoder."""

    @torch.no_grad()
    def image_features(self, image: Tensor) -> list[Tensor]:
        return encode(self.stage1.encoder, image)


class nnUNetTrainerRefinerOnStage1Encoder(nnUNetTrainerRefiner):
    """The refiner that adds the features of stage 1's encoder, which is not trained again."""

    network_class = OnStage1Encoder
    image_encoder = False


class nnUNetTrainerRefinerFromStage1(nnUNetTrainerRefiner):
    """The refiner whose weights begin as those of the frozen stage 1."""

    starts_from_stage1 = True


class nnUNetTrainerRefinerFromStage1OnStage1Encoder(
    nnUNetTrainerRefinerOnStage1Encoder, nnUNetTrainerRefinerFromStage1
):
    """The refiner from stage 1's weights whose image features are those of stage 1's encoder."""


class nnUNetTrainerRefinerFromStage1WithoutPresegmentation(
    EmptyPresegmentations, nnUNetTrainerRefinerFromStage1
):
    """The same without presegmentations: stage 1 trained on as a network of the refiner's shape."""


class Mirrored(nnUNetTrainer):
    """Mirrors both axes in training and in prediction, as nnU-Net does."""

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """With both axes."""
        *others, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = (0, 1)
        return *others, self.inference_allowed_mirroring_axes


class nnUNetTrainerStage1SagittalMirrored(Mirrored, nnUNetTrainerStage1Sagittal):
    """Stage 1 that is mirrored."""


class nnUNetTrainerRefinerFromStage1Mirrored(Mirrored, nnUNetTrainerRefinerFromStage1):
    """The refiner from stage 1's weights that is mirrored."""


class nnUNetTrainerStage1SagittalRandomContrast(nnUNetTrainerStage1Sagittal):
    """Stage 1 that also sees a quarter of its images with random contrasts."""

    random_contrast_probability = 0.25

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """With random contrasts behind the spatial transform."""
        composed = super().get_training_transforms(*args, **kwargs)
        names = [type(transform).__name__ for transform in composed.transforms]
        random_contrast = RandomTransform(RandomContrastTransform(), self.random_contrast_probability)
        composed.transforms.insert(names.index("SpatialTransform") + 1, random_contrast)
        return composed


class RandomContrastTransform(ImageOnlyTransform):
    """Map intensities by a random piecewise linear curve, the same for all pixels of an image.

    The curve has `num_knots` equally spaced knots between the smallest and the largest intensity, and each
    has a random value in that range. It need not rise, so dark tissue may become bright as between T1w and
    T2w. Mean and standard deviation of the image stay what they were.
    """

    def __init__(self, num_knots: tuple[int, int] = (3, 6)):
        """
        Args:
            num_knots: smallest and largest number of knots, both included; at least 2.
        """
        super().__init__()
        self.num_knots = num_knots

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """Draw the values of the knots in [0, 1], for every channel the same."""
        low, high = self.num_knots
        count = int(torch.randint(low, high + 1, ()))
        return {"knots": torch.rand(count)}

    def _apply_to_image(self, img: Tensor, **params: Any) -> Tensor:
        """img (C, *spatial), any range; a new tensor of the same shape, mean and standard deviation."""
        return torch.stack([mapped(channel, params["knots"]) for channel in img])


def mapped(image: Tensor, knots: Tensor) -> Tensor:
    """The image (*spatial) on the curve through `knots` (values in [0, 1], equally spaced)."""
    low, high = image.min(), image.max()
    if high <= low:
        return image.clone()
    places = np.linspace(float(low), float(high), len(knots))
    curve = torch.from_numpy(np.interp(image.numpy(), places, knots.numpy())).to(image.dtype)
    spread = curve.std()
    if spread < 1e-6:  # all knots are alike
        return image.clone()
    return (curve - curve.mean()) / spread * image.std() + image.mean()


BASES = {
    cls.__name__: cls
    for cls in (
        nnUNetTrainerWithoutPresegmentation,
        nnUNetTrainerStage1SagittalRandomContrast,
        nnUNetTrainerStage1SagittalMirrored,
        nnUNetTrainerRefinerFromStage1Mirrored,
        nnUNetTrainerRefiner,
        nnUNetTrainerRefinerWithoutPresegmentation,
        nnUNetTrainerRefinerUndamaged,
        nnUNetTrainerRefinerOnStage1Encoder,
        nnUNetTrainerRefinerFromStage1,
        nnUNetTrainerRefinerFromStage1OnStage1Encoder,
        nnUNetTrainerRefinerFromStage1WithoutPresegmentation,
    )
}


def __getattr__(name: str) -> Any:
    return with_suffixes(name, BASES, __name__)


def _empty(masks: Tensor) -> Tensor:
    masks[:, 0] = 1
    return masks
