"""The denoiser with its sampler as one network that nnU-Net can train, validate, export and predict with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion.batching import BatchLimit
from ..diffusion.compiling import not_compiled
from ..diffusion.forward_process import noise_in
from ..diffusion.fusion import FUSIONS, Fusion
from ..diffusion.masks import encode_masks
from ..diffusion.sampler import Sampled, sample
from ..diffusion.settings import SamplerSettings
from .denoiser import DenoisingUNet
from .memory import items_that_fit


class TrainingOutput(NamedTuple):
    """What a training step needs.

    Attributes:
        stage1: stage 1's output (a list with deep supervision); None where there is no stage 1, or nothing
            for it to do.
        model_output: the denoiser's, (B, K, *spatial): logits of the clean mask, or the noise.
        noise: that the mask was noised with, (B, K, *spatial).
    """

    stage1: Tensor | list[Tensor] | None
    model_output: Tensor
    noise: Tensor


MakeNoisedMask = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""The ground truth as nnU-Net loads it, (B, 1 or more, *spatial), and stage 1's logits (B, K, *spatial), or
masks in {0, 1} in their place, or, without a stage 1, None
-> x_t (B, K, *spatial), t (B,), the noise in x_t."""


class DiffusionNetwork(nn.Module):
    """A denoising network that segments an image from nothing but noise.

    `forward(image)` gives final logits, so stock validation, prediction, export and ensembling work with it.
    The sampler can be changed with `configure_sampler` without touching weights.

    Attributes:
        sampler: the current `SamplerSettings`.
    """

    heads_are_regions: Tensor
    sampler: SamplerSettings

    def __init__(self, denoiser: DenoisingUNet, sampler: SamplerSettings):
        super().__init__()
        self.denoiser = denoiser
        self.num_heads = denoiser.unet.decoder.seg_layers[-1].out_channels
        self.configure_sampler(sampler)
        self.strides = total_strides(denoiser.unet.encoder.strides)
        self._switch = SimpleNamespace(deep_supervision=False)
        # The plans do not say whether the heads are classes or regions, the dataset does, and at prediction
        # nnU-Net does not show us the dataset when it builds the network. So it travels with the weights.
        self.register_buffer("heads_are_regions", torch.tensor(False))

    @property
    def decoder(self) -> Any:
        """Where nnU-Net sets `deep_supervision`."""
        return self._switch

    @property
    def fusion(self) -> Fusion:
        """How steps and chains become one segmentation."""
        return FUSIONS[self.sampler.fusion]

    def configure_sampler(self, sampler: SamplerSettings | None = None, **changes: Any) -> None:
        """Replace the sampler settings, whole or single fields; raises ValueError for impossible ones."""
        self.sampler = replace(sampler if sampler is not None else self.sampler, **changes)
        self.alphas_cumprod = self.sampler.alphas_cumprod()

    def forward(
        self,
        image: Tensor,
        make_noised_mask: MakeNoisedMask | None = None,
        target: Tensor | None = None,
        presegmentation: Tensor | None = None,
    ) -> Tensor | list[Tensor] | TrainingOutput:
        """Final logits of an image, or what a training step needs.

        Args:
            image: (B, C, *spatial), any spatial size.
            make_noised_mask: how the training step noises a mask; see `MakeNoisedMask`. None predicts.
            target: the first argument of `make_noised_mask`.
            presegmentation: masks in {0, 1} (B, K, *spatial) for its second; None leaves that to stage 1.

        Returns:
            Logits (B, K, *spatial), inside a list where deep supervision is switched on, as nnU-Net's
            networks do; a `TrainingOutput` where `make_noised_mask` is given.
        """
        if make_noised_mask is not None and target is not None:
            return self._training_forward(image, make_noised_mask, target, presegmentation)
        logits = self._predicted(image)
        return [logits] if self.decoder.deep_supervision else logits

    def _predicted(self, image: Tensor) -> Tensor:
        return self.segment(image).logits

    @not_compiled(recursive=False)
    def segment(
        self, image: Tensor, presegmentation: Tensor | None = None, limit: BatchLimit | None = None
    ) -> Sampled:
        """Logits and uncertainty of an image.

        Args:
            image: (B, C, *spatial), any spatial size.
            presegmentation: masks in {0, 1} (B, K, *spatial) that the chains start from, where they start
                from masks; None where they start from noise.
            limit: how many of the S x B inputs of the denoiser run side by side; as many as fit where None.
        """
        if presegmentation is None:
            presegmentation = image.new_zeros((image.shape[0], self.num_heads, *image.shape[2:]))
        padded, crop = pad_to_multiple(image, self.strides)
        # A mask goes on as it is at its edge: zeros would stand for no class at all.
        x_pre = encode_masks(pad_to_multiple(presegmentation, self.strides, "replicate")[0])
        features = self.image_features(padded)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self._model_output(x_t, t, padded, features)

        sampled = sample(
            denoise,
            x_pre,
            padded,
            self.sampler,
            self.alphas_cumprod,
            regions=bool(self.heads_are_regions),
            limit=limit or self.batch_limit(padded),
        )
        return sampled.changed(lambda mean: mean[crop])

    def image_features(self, image: Tensor) -> list[Tensor] | None:
        """What the denoiser adds to its own features: those of its image encoder, constant over the steps."""
        return self.denoiser.encode_image(image)

    def batch_limit(self, image: Tensor) -> BatchLimit:
        """Estimate how many inputs of the denoiser fit in one batch."""
        return BatchLimit(items_that_fit(self.denoiser.unet.encoder, image))

    def _training_forward(
        self,
        image: Tensor,
        make_noised_mask: MakeNoisedMask,
        target: Tensor,
        presegmentation: Tensor | None,
    ) -> TrainingOutput:
        x_t, t, noise = make_noised_mask(target, presegmentation)
        return TrainingOutput(None, self._denoised(x_t, t, image), noise)

    def _denoised(self, x_t: Tensor, t: Tensor, image: Tensor) -> Tensor:
        return self._model_output(x_t, t, image, self.image_features(image))

    def _model_output(
        self, x_t: Tensor, t: Tensor, image: Tensor, image_features: list[Tensor] | None
    ) -> Tensor:
        output = self.denoiser(x_t, t, image, image_features)
        if self.sampler.prediction_type == "epsilon":
            # Most of the noise is in x_t already, but instance norm takes away how much: with x_t passed on
            # beside the network, and weighted as if the network gave v, it needs to learn the rest only.
            return noise_in(x_t, output, t, self.alphas_cumprod)
        return output


def full_resolution(x: Tensor | list[Tensor]) -> Tensor:
    """The first of nnU-Net's outputs or targets where deep supervision made a list of them."""
    return x[0] if isinstance(x, list | tuple) else x


def total_strides(strides: list) -> list[int]:
    """Product over the stages of an encoder's strides, one number an axis."""
    total = [1] * len(strides[0])
    for stage in strides:
        total = [a * int(b) for a, b in zip(total, stage, strict=True)]
    return total


def pad_to_multiple(
    x: Tensor, multiples: list[int], mode: str = "constant"
) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad the end of every spatial axis up to a multiple; also the slices that take the padding off."""
    sizes = x.shape[2:]
    missing = [-size % multiple for size, multiple in zip(sizes, multiples, strict=True)]
    crop = (slice(None), slice(None), *[slice(0, size) for size in sizes])
    if not any(missing):
        return x, crop
    return F.pad(x, [side for m in reversed(missing) for side in (0, m)], mode), crop
