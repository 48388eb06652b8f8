"""Embedding of the time step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoidal_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of t at `dim` / 2 frequencies (Ho et al. 2020, arXiv 2006.11239, section 4).

    Args:
        t: steps, shape (B,).
        dim: even.

    Returns:
        float32 tensor of shape (B, dim).
    """
    half = dim // 2
    frequencies = torch.exp(
        -math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half
    )
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """t -> a vector of `dim` features, shape (B,) -> (B, dim)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(sinusoidal_embedding(t, self.dim))


class TimeModulation(nn.Module):
    """Scale and shift the channels of a feature map by the step: h * (1 + scale) + shift.

    A shift alone, the usual additive embedding, would be undone: in nnU-Net's blocks a convolution turns it
    into a constant a channel, and the instance norm behind that removes it. A scale changes the mixture of
    channels that the convolution sees, which survives (Dhariwal & Nichol 2021, arXiv 2105.05233, section 3).
    """

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.to_scale_and_shift = nn.Linear(dim, 2 * channels)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """h (B, channels, *spatial), embedding (B, dim) -> (B, channels, *spatial); `h` is used up."""
        both = self.to_scale_and_shift(embedding)
        scale, shift = both.view(*both.shape, *[1] * (h.ndim - 2)).chunk(2, dim=1)
        if torch.is_grad_enabled():
            return torch.addcmul(shift, h, 1 + scale)
        # In place: a fresh map at full resolution costs more than the sums (measured: 4 times).
        return h.mul_(1 + scale).add_(shift)
