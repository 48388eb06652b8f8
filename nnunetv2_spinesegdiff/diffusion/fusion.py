"""What the last steps of S chains say together: the segmentation and where not to trust it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import e
from typing import NamedTuple

import torch
from torch import Tensor

from .ddim import StepOutput
from .masks import logits_of, probabilities


class Measure(NamedTuple):
    """What a map of uncertainty shows: its name, with its unit, and the largest value there is."""

    name: str
    highest: float


ENTROPY = Measure("entropy (nats)", 1 / e)


class Fusion(ABC):
    """How the last steps of S chains become one segmentation and a map of its uncertainty.

    Of every step some tensors are kept, and of those only their means over the chains: `means` is the list of
    them, noisiest step first, each (B, K, *spatial), float32. The uncertainty may be asked of means over
    mirrored copies, too. Logits are made copy by copy: nnU-Net averages logits, of these as of all networks.
    """

    needs_logits = False
    """Whether only a network that predicts logits of x_0 can be fused this way."""
    last_step_only = False
    """Whether more than the last step is never fused."""
    measure = ENTROPY
    """What the uncertainty is."""

    @abstractmethod
    def kept(self, step: StepOutput) -> list[Tensor]:
        """The tensors of one step whose means over the chains are wanted."""

    @abstractmethod
    def logits(self, means: list[Tensor], regions: bool) -> Tensor:
        """Logits (B, K, *spatial) of the segmentation."""

    @abstractmethod
    def uncertainty(self, means: list[Tensor], regions: bool, temperatures: Tensor | None) -> Tensor:
        """A map per class (B, K, *spatial); `temperatures` (K,) calibrate the probabilities it is of."""


class Exponential(Fusion):
    """SpineSegDiff: weighted sum of the steps' mean logits, the cleanest weighing most (paper eqs. 3-5)."""

    needs_logits = True

    def kept(self, step: StepOutput) -> list[Tensor]:
        return [step.model_output]

    def logits(self, means: list[Tensor], regions: bool) -> Tensor:
        return fuse(means)

    def uncertainty(self, means: list[Tensor], regions: bool, temperatures: Tensor | None) -> Tensor:
        return uncertainty(means, regions, temperatures)


class StepUncertainty(Fusion):
    """Diff-UNet: steps weigh more the later and the surer they are (arXiv 2303.10326, section 2.3).

    With the chains' mean probability p_i of step i = 1..T_s and u_i = -p_i log p_i, the segmentation is the
    sum over i of w_i p_i, w_i = exp(sigmoid(i / T_s) (1 - u_i)), pixel for pixel and class for class.
    """

    def kept(self, step: StepOutput) -> list[Tensor]:
        return [(step.pred_x0 + 1) / 2]

    def logits(self, means: list[Tensor], regions: bool) -> Tensor:
        total, weights = torch.zeros_like(means[0]), torch.zeros_like(means[0])
        for i, p in enumerate(means, 1):
            weight = torch.exp(torch.sigmoid(torch.tensor(i / len(means))) * (1 - torch.special.entr(p)))
            total, weights = total + weight * p, weights + weight
        # Classes compete for a pixel with their sums; a region stands alone, so its weights must sum to 1.
        return logits_of(total / weights, True) if regions else logits_of(total, False)

    def uncertainty(self, means: list[Tensor], regions: bool, temperatures: Tensor | None) -> Tensor:
        """The largest u_i of the steps."""
        return uncertainty([logits_of(p, regions) for p in means], regions, temperatures)


class Ensemble(Fusion):
    """Implicit segmentation ensemble: mean and variance of the chains' last masks (arXiv 2112.03145)."""

    last_step_only = True
    measure = Measure("variance", 0.25)

    def kept(self, step: StepOutput) -> list[Tensor]:
        mask = (step.pred_x0 + 1) / 2
        return [mask, mask**2]

    def logits(self, means: list[Tensor], regions: bool) -> Tensor:
        return logits_of(means[0], regions)

    def uncertainty(self, means: list[Tensor], regions: bool, temperatures: Tensor | None) -> Tensor:
        """Variance of the masks, in [0, 1/4]; it is of no probability, so temperatures leave it alone."""
        mean, mean_square = means
        return (mean_square - mean**2).clamp(min=0)


def fusion_weights(fusion_steps: int) -> Tensor:
    """Weights of the last T_s steps (paper eq. 3), float64, shape (T_s,), the cleanest step last and largest.

    w_t = exp(-alpha (T_s - t) / T_s) with alpha = T_s / 2 and t = 1..T_s counted along the chain.
    Normalized to sum 1: the arg max is the paper's, and the softmax of the fused logits stays as calibrated
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

    0 log 0 counts as 0; the paper's entropy has one term per class, so the maximum is at p = 1/e.
    """
    return torch.special.entr(probabilities(logits.float(), regions, temperatures))


def uncertainty(step_logits: list[Tensor], regions: bool, temperatures: Tensor | None = None) -> Tensor:
    """The heatmap a class: the maximum of `class_entropy` over the last T_s steps (paper eq. 5)."""
    heatmap = class_entropy(step_logits[0], regions, temperatures)
    for logits in step_logits[1:]:
        heatmap = torch.maximum(heatmap, class_entropy(logits, regions, temperatures))
    return heatmap


FUSIONS: dict[str, Fusion] = {
    "exponential": Exponential(),
    "step_uncertainty": StepUncertainty(),
    "ensemble": Ensemble(),
}
