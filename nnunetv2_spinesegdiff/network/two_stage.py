"""Stage 1 and the denoiser as one network that nnU-Net can train, validate, export and predict with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion.batching import BatchLimit
from ..diffusion.masks import encode_masks, hard_masks
from ..diffusion.sampler import Sampled, sample
from ..diffusion.settings import SamplerSettings
from .denoiser import DenoisingUNet
from .memory import items_that_fit


class TrainingOutput(NamedTuple):
    """What a training step needs: stage 1's output (a list with deep supervision), the refiner's logits."""

    stage1: Tensor | list[Tensor]
    refined: Tensor


MakeNoisedMask = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Stage 1's full-resolution logits (B, K, *spatial) -> (x_t of that shape, t of shape (B,))."""


class TwoStageNetwork(nn.Module):
    """nnU-Net's planned network followed by the diffusion refiner.

    `forward(image)` gives final logits, so stock validation, prediction, export and ensembling work with it.
    Refinement can be switched off with `refine_predictions`, and the sampler can be changed with
    `configure_sampler`, both without touching weights.

    Attributes:
        refine_predictions: False makes `forward(image)` stage 1 alone.
        stage1_frozen: stage 1 stays in eval mode and gets no gradients.
        sampler: the current `SamplerSettings`.
    """

    stage1: Any
    heads_are_regions: Tensor
    sampler: SamplerSettings

    def __init__(self, stage1: Any, denoiser: DenoisingUNet, sampler: SamplerSettings):
        super().__init__()
        self.stage1 = stage1
        self.denoiser = denoiser
        self.refine_predictions = True
        self.stage1_frozen = False
        self.configure_sampler(sampler)
        self.strides = _total_strides(denoiser.unet.encoder.strides)
        # The plans do not say whether the heads are classes or regions, the dataset does, and at prediction
        # nnU-Net does not show us the dataset when it builds the network. So it travels with the weights.
        self.register_buffer("heads_are_regions", torch.tensor(False))

    @property
    def decoder(self) -> Any:
        """Where nnU-Net sets `deep_supervision`: stage 1's decoder, unless its outputs serve no loss."""
        return self._switch if self.stage1_frozen else self.stage1.decoder

    def configure_sampler(self, sampler: SamplerSettings | None = None, **changes: Any) -> None:
        """Replace the sampler settings, whole or single fields; raises ValueError for impossible ones."""
        self.sampler = replace(sampler if sampler is not None else self.sampler, **changes)
        self.alphas_cumprod = self.sampler.alphas_cumprod()

    def freeze_stage1(self) -> None:
        """Train the refiner only."""
        self._switch = SimpleNamespace(deep_supervision=self.stage1.decoder.deep_supervision)
        self.stage1.decoder.deep_supervision = False
        self.stage1_frozen = True
        self.stage1.requires_grad_(False)
        self.stage1.eval()

    def train(self, mode: bool = True) -> TwoStageNetwork:
        super().train(mode)
        if self.stage1_frozen:
            self.stage1.eval()
        return self

    def forward(
        self, image: Tensor, make_noised_mask: MakeNoisedMask | None = None
    ) -> Tensor | list[Tensor] | TrainingOutput:
        """Final logits of an image, or what a training step needs.

        Args:
            image: (B, C, *spatial), any spatial size.
            make_noised_mask: how the training step noises a mask; see `MakeNoisedMask`. None predicts.

        Returns:
            Logits (B, K, *spatial), inside a list where deep supervision is switched on, as nnU-Net's
            networks do; a `TrainingOutput` where `make_noised_mask` is given.
        """
        if make_noised_mask is not None:
            return self._training_forward(image, make_noised_mask)
        logits = self.refine(image).logits if self.refine_predictions else self.presegment(image)
        return [logits] if self.decoder.deep_supervision else logits

    def presegment(self, image: Tensor) -> Tensor:
        """Stage 1's logits (B, K, *spatial) of an image of any size."""
        padded, crop = _pad_to_multiple(image, self.strides)
        return _full_resolution(self.stage1(padded))[crop]

    @torch.compiler.disable(recursive=False)
    def refine(
        self, image: Tensor, presegmentation: Tensor | None = None, limit: BatchLimit | None = None
    ) -> Sampled:
        """Refined logits and the uncertainty of an image.

        Args:
            image: (B, C, *spatial), any spatial size.
            presegmentation: masks in {0, 1} (B, K, *spatial) to refine; stage 1's where None.
            limit: how many of the S x B inputs of the denoiser run side by side; as many as fit where None.
        """
        regions = bool(self.heads_are_regions)
        if presegmentation is None:
            presegmentation = hard_masks(self.presegment(image), regions)
        padded, crop = _pad_to_multiple(image, self.strides)
        # A mask goes on as it is at its edge: zeros would stand for no class at all.
        x_pre = encode_masks(_pad_to_multiple(presegmentation, self.strides, "replicate")[0])
        features = self.denoiser.encode_image(padded)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.denoiser(x_t, t, padded, features)

        limit = limit or self.batch_limit(padded)
        sampled = sample(
            denoise, x_pre, padded, self.sampler, self.alphas_cumprod, regions=regions, limit=limit
        )
        return sampled.of_steps(lambda logits: logits[crop])

    def batch_limit(self, image: Tensor) -> BatchLimit:
        """As many inputs of the denoiser side by side as are thought to fit."""
        return BatchLimit(items_that_fit(self.denoiser.unet.encoder, image))

    def _training_forward(self, image: Tensor, make_noised_mask: MakeNoisedMask) -> TrainingOutput:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stage1_frozen):
            stage1 = self.stage1(image)
        x_t, t = make_noised_mask(_full_resolution(stage1).detach())
        refined = self.denoiser(x_t, t, image, self.denoiser.encode_image(image))
        return TrainingOutput(stage1, refined)


def _full_resolution(output: Tensor | list[Tensor]) -> Tensor:
    return output[0] if isinstance(output, list | tuple) else output


def _total_strides(strides: list) -> list[int]:
    """Product over the stages of an encoder's strides, one number an axis."""
    total = [1] * len(strides[0])
    for stage in strides:
        total = [a * int(b) for a, b in zip(total, stage, strict=True)]
    return total


def _pad_to_multiple(
    x: Tensor, multiples: list[int], mode: str = "constant"
) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad the end of every spatial axis up to a multiple; also the slices that take the padding off."""
    sizes = x.shape[2:]
    missing = [-size % multiple for size, multiple in zip(sizes, multiples, strict=True)]
    crop = (slice(None), slice(None), *[slice(0, size) for size in sizes])
    if not any(missing):
        return x, crop
    return F.pad(x, [side for m in reversed(missing) for side in (0, m)], mode), crop
