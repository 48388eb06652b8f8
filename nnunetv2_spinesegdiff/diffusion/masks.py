"""Masks as the diffusion process sees them: K channels in [-1, 1].

K is the number of segmentation heads of the nnU-Net plans: all classes with the background (softmax),
or one channel a region (sigmoid).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST = 1e-5
"""The smallest probability that becomes a logit."""


def probabilities(logits: Tensor, regions: bool, temperatures: Tensor | None = None) -> Tensor:
    """Probabilities in [0, 1] of logits (B, K, *spatial): softmax over K, or a sigmoid a region.

    Args:
        temperatures: (K,), above 0, by which log probabilities (of regions: logits) are divided before they
            are normalised again; None changes nothing.
    """
    if temperatures is None:
        return logits.sigmoid() if regions else logits.softmax(1)
    scale = temperatures.to(logits).view(-1, *[1] * (logits.ndim - 2))
    return (logits / scale).sigmoid() if regions else (logits.log_softmax(1) / scale).softmax(1)


def pred_x0_of(logits: Tensor, regions: bool) -> Tensor:
    """The predicted clean mask 2 p - 1 in [-1, 1], float32.

    The logits themselves are never clamped into [-1, 1]: that would cap the confidence at e^2 : 1.
    """
    return probabilities(logits.float(), regions) * 2 - 1


def logits_of(probabilities: Tensor, regions: bool) -> Tensor:
    """Logits of which nnU-Net's softmax (regions: sigmoid) gives `probabilities` (B, K, *spatial) in [0, 1].

    Heads of classes need not sum to 1, they are normalised. What is below `LEAST` counts as `LEAST`: nnU-Net
    adds logits up in half precision.
    """
    likely = probabilities.float().clamp(LEAST, 1 - LEAST if regions else None)
    return torch.logit(likely) if regions else (likely / likely.sum(1, keepdim=True)).log()


def one_hot_channels(labels: Tensor, num_channels: int) -> Tensor:
    """Label map (B, *spatial), integers in 0..K-1, to a float32 one-hot (B, K, *spatial) in {0, 1}."""
    return F.one_hot(labels.long(), num_channels).movedim(-1, 1).float()


def hard_masks(logits: Tensor, regions: bool) -> Tensor:
    """The segmentation that logits (B, K, *spatial) stand for, as float32 channels in {0, 1}."""
    if regions:
        return (logits > 0).float()
    # max, not argmax: the same indices, ten times as fast on a CPU.
    return one_hot_channels(logits.max(1).indices, logits.shape[1])


def encode_masks(masks: Tensor) -> Tensor:
    """Channels in [0, 1] to the range [-1, 1] in which the noise process works."""
    return masks.float() * 2 - 1
