"""Masks in the form that the diffusion process needs: K channels in [-1, 1].

K is the number of segmentation heads of the nnU-Net plans: all classes and the background (softmax), or one
channel per region (sigmoid).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST = 1e-5
"""The smallest probability that becomes a logit."""


def probabilities(logits: Tensor, regions: bool, temperatures: Tensor | None = None) -> Tensor:
    """Compute probabilities: a softmax over K, or a sigmoid per region.

    Args:
        logits: (B, K, *spatial).
        regions: sigmoid heads instead of softmax.
        temperatures: shape (K,), above 0. Log probabilities (logits of regions) are divided by them and
            normalized again.

    Returns:
        Probabilities, shape of `logits`, 0 to 1.
    """
    if temperatures is None:
        return logits.sigmoid() if regions else logits.softmax(1)
    scale = temperatures.to(logits).view(-1, *[1] * (logits.ndim - 2))
    return (logits / scale).sigmoid() if regions else (logits.log_softmax(1) / scale).softmax(1)


def pred_x0_of(logits: Tensor, regions: bool) -> Tensor:
    """Compute the predicted clean mask 2 p - 1 in [-1, 1], float32.

    The logits themselves are never clamped into [-1, 1]: that would cap the confidence at e^2 : 1.
    """
    return probabilities(logits.float(), regions) * 2 - 1


def logits_of(probabilities: Tensor, regions: bool) -> Tensor:
    """Compute logits whose softmax (regions: sigmoid) is `probabilities` (B, K, *spatial) in [0, 1].

    Probabilities of classes are normalized to sum 1. Values below `LEAST` are replaced by `LEAST`, because
    nnU-Net sums logits in half precision.
    """
    likely = probabilities.float().clamp(LEAST, 1 - LEAST if regions else None)
    return torch.logit(likely) if regions else (likely / likely.sum(1, keepdim=True)).log()


def one_hot_channels(labels: Tensor, num_channels: int) -> Tensor:
    """Convert labels (B, *spatial), integers 0 to K - 1, to float32 channels (B, K, *spatial) of 0 and 1."""
    return F.one_hot(labels.long(), num_channels).movedim(-1, 1).float()


def hard_masks(logits: Tensor, regions: bool) -> Tensor:
    """Convert logits (B, K, *spatial) to the segmentation, as float32 channels of 0 and 1."""
    if regions:
        return (logits > 0).float()
    # max, not argmax: the same indices, ten times as fast on a CPU.
    return one_hot_channels(logits.max(1).indices, logits.shape[1])


def encode_masks(masks: Tensor) -> Tensor:
    """Convert channels from [0, 1] to [-1, 1], the range of the diffusion process."""
    return masks.float() * 2 - 1
