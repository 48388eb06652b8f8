"""The dual-encoder denoising network of SpineSegDiff on the U-Net that nnU-Net planned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .time_embedding import TimeEmbedding, TimeModulation


def encode(encoder: Any, x: Tensor) -> list[Tensor]:
    """The feature maps of all stages of a planned encoder (plain or residual), largest first."""
    if getattr(encoder, "stem", None) is not None:
        x = encoder.stem(x)
    features = []
    for stage in encoder.stages:
        x = stage(x)
        features.append(x)
    return features


class DenoisingUNet(nn.Module):
    """Predict the clean mask from a noised one, the step and the image (paper section 2.1, figure 1).

    The image is concatenated with the noised mask. The features of a second encoder, whose input is only the
    image, are added to the denoiser's encoder at every scale. The step scales and shifts the features
    of every stage of encoder and decoder.
    """

    # nn.Module tells a type checker nothing about the parts of a planned network.
    unet: Any
    image_encoder: Any

    def __init__(self, unet: Any, image_encoder: Any, time_dim: int = 128):
        """
        Args:
            unet: a planned U-Net with `encoder` and `decoder`; takes image and mask channels together.
            image_encoder: a planned encoder of the same stages and widths that takes the image; None leaves
                the dual encoder out.
            time_dim: width of the time embedding.
        """
        super().__init__()
        self.unet = unet
        # Only the full resolution is supervised; DDP does not accept weights that no loss reaches.
        self.unet.decoder.seg_layers = unet.decoder.seg_layers[-1:]
        self.image_encoder = image_encoder
        widths = list(unet.encoder.output_channels)
        if image_encoder is not None and list(image_encoder.output_channels) != widths:
            raise ValueError(
                f"the image encoder has {list(image_encoder.output_channels)} features per stage, "
                f"the denoiser's encoder {widths}: they must agree"
            )
        self.time_embedding = TimeEmbedding(time_dim)
        self.encoder_modulations = nn.ModuleList(TimeModulation(time_dim, c) for c in widths)
        self.decoder_modulations = nn.ModuleList(TimeModulation(time_dim, c) for c in widths[-2::-1])

    def encode_image(self, image: Tensor) -> list[Tensor] | None:
        """Features of the image at every scale; constant over steps and chains, so computed once a case."""
        return None if self.image_encoder is None else encode(self.image_encoder, image)

    def forward(self, x_t: Tensor, t: Tensor, image: Tensor, image_features: list[Tensor] | None) -> Tensor:
        """Logits of the clean mask.

        Args:
            x_t: noised mask (S * B, K, *spatial), chain by chain.
            t: steps (S * B,).
            image: (B, C, *spatial).
            image_features: what `encode_image` gave for `image`.

        Returns:
            (S * B, K, *spatial).
        """
        chains = x_t.shape[0] // image.shape[0]
        embedding = self.time_embedding(t)
        h = torch.cat([_repeat(image, chains), x_t.to(image.dtype)], dim=1)
        skips = self._encode(h, embedding, image_features, chains)
        return self._decode(skips, embedding)

    def _encode(
        self, h: Tensor, embedding: Tensor, image_features: list[Tensor] | None, chains: int
    ) -> list[Tensor]:
        encoder = self.unet.encoder
        if getattr(encoder, "stem", None) is not None:
            h = encoder.stem(h)
        skips = []
        for i, (stage, modulation) in enumerate(zip(encoder.stages, self.encoder_modulations, strict=True)):
            h = modulation(stage(h), embedding)
            if image_features is not None:
                h = _add_to_every_chain(h, image_features[i], chains)
            skips.append(h)
        return skips

    def _decode(self, skips: list[Tensor], embedding: Tensor) -> Tensor:
        decoder = self.unet.decoder
        h = skips[-1]
        stages = zip(
            decoder.transpconvs, decoder.stages, self.decoder_modulations, skips[-2::-1], strict=True
        )
        for upsample, stage, modulation, skip in stages:
            h = modulation(stage(torch.cat([upsample(h), skip], dim=1)), embedding)
        return decoder.seg_layers[-1](h)


def _add_to_every_chain(h: Tensor, features: Tensor, chains: int) -> Tensor:
    """h (S * B, ...), chain by chain, plus features (B, ...), without a copy of the features for each."""
    of_chains = h.view(chains, *features.shape)
    # In place where autograd does not need it, for the reason that `TimeModulation` gives.
    return (of_chains + features if torch.is_grad_enabled() else of_chains.add_(features)).view_as(h)


def _repeat(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else x.repeat(times, *[1] * (x.ndim - 1))
