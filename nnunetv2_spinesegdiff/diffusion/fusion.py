"""What the last steps of S chains say together: the fused segmentation and where not to trust it."""

from __future__ import annotations

import torch
from torch import Tensor

from .masks import probabilities


def fusion_weights(fusion_steps: int) -> Tensor:
    """Weights of the last T_s steps (paper eq. 3), float64, shape (T_s,), the cleanest step last and largest.

    w_t = exp(-alpha (T_s - t) / T_s) with alpha = T_s / 2 and t = 1..T_s counted along the chain.
    Normalised to sum 1: the arg max is the paper's, and the softmax of the fused logits stays as calibrated
    as one step's.
    """
    t = torch.arange(1, fusion_steps + 1, dtype=torch.float64)
    return torch.softmax(-(fusion_steps / 2) * (fusion_steps - t) / fusion_steps, 0)


def fuse(step_logits: list[Tensor]) -> Tensor:
    """Weighted sum of the sample-mean logits of the last T_s steps (paper eq. 3).

    Args:
        step_logits: T_s tensors (B, K, *spatial), noisiest step first.
    """
    weights = fusion_weights(len(step_logits)).tolist()
    return torch.stack([w * logits for w, logits in zip(weights, step_logits, strict=True)]).sum(0)


def class_entropy(logits: Tensor, regions: bool, temperatures: Tensor | None = None) -> Tensor:
    """h = -p log p a class (paper eq. 4), shape of `logits`, in [0, 1/e] nats.

    0 log 0 counts as 0; the paper's entropy has one term a class, so the maximum is at p = 1/e.
    """
    return torch.special.entr(probabilities(logits.float(), regions, temperatures))


def uncertainty(step_logits: list[Tensor], regions: bool, temperatures: Tensor | None = None) -> Tensor:
    """The heatmap a class: the maximum of `class_entropy` over the last T_s steps (paper eq. 5)."""
    heatmap = class_entropy(step_logits[0], regions, temperatures)
    for logits in step_logits[1:]:
        heatmap = torch.maximum(heatmap, class_entropy(logits, regions, temperatures))
    return heatmap
