"""Stage 1 and the denoiser as one network that nnU-Net can train, validate, export and predict with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..diffusion.batching import BatchLimit
from ..diffusion.compiling import not_compiled
from ..diffusion.masks import hard_masks, logits_of, probabilities
from ..diffusion.sampler import Sampled
from ..diffusion.settings import SamplerSettings
from .denoiser import DenoisingUNet
from .diffusion_network import (
    DiffusionNetwork,
    MakeNoisedMask,
    TrainingOutput,
    full_resolution,
    pad_to_multiple,
)


class TwoStageNetwork(DiffusionNetwork):
    """nnU-Net's planned network followed by the diffusion refiner, which starts from its segmentation.

    Attributes:
        refine_predictions: False makes `forward(image)` stage 1 alone.
        stage1_frozen: stage 1 stays in eval mode and gets no gradients.
    """

    stage1: Any

    def __init__(self, stage1: Any, denoiser: DenoisingUNet, sampler: SamplerSettings):
        super().__init__(denoiser, sampler)
        self.stage1 = stage1
        self.refine_predictions = True
        self.stage1_frozen = False

    @property
    def decoder(self) -> Any:
        """Where nnU-Net sets `deep_supervision`: stage 1's decoder, unless its outputs serve no loss."""
        return self._switch if self.stage1_frozen else self.stage1.decoder

    def freeze_stage1(self) -> None:
        """Train the refiner only."""
        self._switch = SimpleNamespace(deep_supervision=self.stage1.decoder.deep_supervision)
        self.stage1.decoder.deep_supervision = False
        self.stage1_frozen = True
        self.stage1.requires_grad_(False)
        self.stage1.eval()

    @torch.no_grad()
    def start_from_stage1(self) -> None:
        """Copy stage 1's weights to denoiser and image encoder, whose features are as wide as stage 1's.

        The denoiser's first convolution sees the image as stage 1 does. Its weights of the noised mask are 0.
        Of the segmentation layers, the denoiser has only the last one.
        """
        stage1 = self.stage1.state_dict()
        last = len(self.stage1.decoder.seg_layers) - 1
        for part, prefix in ((self.denoiser.unet, ""), (self.denoiser.image_encoder, "encoder.")):
            if part is None:
                continue
            for name, weights in part.state_dict().items():
                source = stage1[(prefix + name).replace("seg_layers.0.", f"seg_layers.{last}.")]
                if weights.shape == source.shape:
                    weights.copy_(source)
                else:
                    weights.zero_()[:, : source.shape[1]] = source

    def train(self, mode: bool = True) -> TwoStageNetwork:
        super().train(mode)
        if self.stage1_frozen:
            self.stage1.eval()
        return self

    def presegment(self, image: Tensor) -> Tensor:
        """Stage 1's logits (B, K, *spatial) of an image of any size."""
        padded, crop = pad_to_multiple(image, self.strides)
        return full_resolution(self.stage1(padded))[crop]

    @not_compiled(recursive=False)
    def refine(
        self, image: Tensor, presegmentation: Tensor | None = None, limit: BatchLimit | None = None
    ) -> Sampled:
        """Like `segment`; starts from stage 1's masks if no presegmentation is given."""
        if presegmentation is None:
            presegmentation = hard_masks(self.presegment(image), bool(self.heads_are_regions))
        return self.segment(image, presegmentation, limit)

    def averaged(self, refined: Tensor, stage1: Tensor) -> Tensor:
        """Logits of the weighted mean of both stages' probabilities, see `SamplerSettings.stage1_weight`.

        Args:
            refined, stage1: logits (B, K, *spatial).
        """
        weight = self.sampler.stage1_weight
        if weight == 0:
            return refined
        regions = bool(self.heads_are_regions)
        mean = torch.lerp(
            probabilities(refined.float(), regions), probabilities(stage1.float(), regions), weight
        )
        return logits_of(mean, regions)

    def _predicted(self, image: Tensor) -> Tensor:
        stage1 = self.presegment(image)
        if not self.refine_predictions:
            return stage1
        return self.averaged(
            self.refine(image, hard_masks(stage1, bool(self.heads_are_regions))).logits, stage1
        )

    def _training_forward(
        self,
        image: Tensor,
        make_noised_mask: MakeNoisedMask,
        target: Tensor,
        presegmentation: Tensor | None,
    ) -> TrainingOutput:
        if presegmentation is not None:
            return super()._training_forward(image, make_noised_mask, target, presegmentation)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stage1_frozen):
            stage1 = self.stage1(image)
        x_t, t, noise = make_noised_mask(target, full_resolution(stage1).detach())
        return TrainingOutput(stage1, self._denoised(x_t, t, image), noise)
