"""Fusion of the last steps of S chains into a segmentation and an uncertainty map."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..measures import ENTROPY, VARIANCE
from .ddim import StepOutput
from .masks import logits_of, probabilities


class Fusion(ABC):
    """Base class: combines the last steps of S chains into one segmentation and its uncertainty map.

    `kept` selects tensors of a step. Their means over the chains are `means`: a list, the noisiest step
    first, each (B, K, *spatial), float32. `logits` gets the means of one mirrored copy, because nnU-Net
    averages the logits of copies. `uncertainty` can also get means over all copies.
    """

    needs_logits = False
    """Whether the network must predict logits of x_0."""
    last_step_only = False
    """Whether only the last step is used."""
    measure = ENTROPY
    """Unit and range of the uncertainty."""

    @abstractmethod
    def kept(self, step: StepOutput) -> list[Tensor]:
        """Select the tensors of one step whose means over the chains are needed.

        Args:
            step: result of a step, (S * B, K, *spatial).

        Returns:
            Tensors of the same shape.
        """

    @abstractmethod
    def logits(self, means: list[Tensor], regions: bool) -> Tensor:
        """Compute the logits of the segmentation.

        Args:
            means: tensors (B, K, *spatial), float32, the noisiest step first.
            regions: sigmoid heads instead of softmax.

        Returns:
            Logits (B, K, *spatial).
        """

    @abstractmethod
    def uncertainty(self, means: list[Tensor], regions: bool, temperatures: Tensor | None) -> Tensor:
        """Compute an uncertainty map per class.

        Args:
            means: tensors (B, K, *spatial), float32, the noisiest step first.
            regions: sigmoid heads instead of softmax.
            temperatures: shape (K,), above 0; calibrate the probabilities, see `masks.probabilities`.

        Returns:
            Maps (B, K, *spatial), 0 to `measure.highest`.
        """


class Exponential(Fusion):
    """SpineSegDiff: weighted sum of the steps' mean logits, the last with the largest weight (eqs. 3-5)."""

    needs_logits = True

    def kept(self, step: StepOutput) -> list[Tensor]:
        return [step.model_output]

    def logits(self, means: list[Tensor], regions: bool) -> Tensor:
        return fuse(means)

    def uncertainty(self, means: list[Tensor], regions: bool, temperatures: Tensor | None) -> Tensor:
        return uncertainty(means, regions, temperatures)


class StepUncertainty(Fusion):
    """Diff-UNet: later and more certain steps have larger weights (arXiv 2303.10326, section 2.3).

    Let p_i be the mean probability of step i = 1..T_s over the chains, and u_i = -p_i log p_i. The
    segmentation is the sum over i of w_i p_i with w_i = exp(sigmoid(i / T_s) (1 - u_i)), computed for every
    pixel and class.
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
        """Compute the largest u_i of the steps."""
        return uncertainty([logits_of(p, regions) for p in means], regions, temperatures)


class Ensemble(Fusion):
    """Implicit segmentation ensemble: mean and variance of the chains' last masks (arXiv 2112.03145)."""

    last_step_only = True
    measure = VARIANCE

    def kept(self, step: StepOutput) -> list[Tensor]:
        mask = (step.pred_x0 + 1) / 2
        return [mask, mask**2]

    def logits(self, means: list[Tensor], regions: bool) -> Tensor:
        return logits_of(means[0], regions)

    def uncertainty(self, means: list[Tensor], regions: bool, temperatures: Tensor | None) -> Tensor:
        """Compute the variance of the masks, 0 to 1/4; temperatures do not change it."""
        mean, mean_square = means
        return (mean_square - mean**2).clamp(min=0)


def fusion_weights(fusion_steps: int) -> Tensor:
    """Compute the weights of the last T_s steps (paper eq. 3).

    w_t = exp(-alpha (T_s - t) / T_s) with alpha = T_s / 2 and t = 1..T_s counted along the chain. The weights
    are normalized to sum 1, which the paper does not do. This does not change the arg max, and the fused
    logits have the scale of one step's logits.

    Args:
        fusion_steps: T_s, at least 1.

    Returns:
        Weights, shape (T_s,), float64. The last, cleanest step has the largest one.

    Examples:
        >>> [round(weight, 3) for weight in fusion_weights(3).tolist()]
        [0.186, 0.307, 0.506]
    """
    t = torch.arange(1, fusion_steps + 1, dtype=torch.float64)
    return torch.softmax(-(fusion_steps / 2) * (fusion_steps - t) / fusion_steps, 0)


def fuse(step_logits: list[Tensor]) -> Tensor:
    """Compute the weighted sum of the mean logits of the last T_s steps (paper eq. 3).

    Args:
        step_logits: T_s tensors (B, K, *spatial), means over the chains, the noisiest step first.

    Returns:
        Fused logits (B, K, *spatial).

    Examples:
        >>> steps = [torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)]
        >>> round(float(fuse(steps)[0, 0, 0, 0]), 3)
        0.622
    """
    weights = fusion_weights(len(step_logits)).tolist()
    return torch.stack([w * logits for w, logits in zip(weights, step_logits, strict=True)]).sum(0)


def class_entropy(logits: Tensor, regions: bool, temperatures: Tensor | None = None) -> Tensor:
    """Compute h = -p log p of every class (paper eq. 4).

    The paper's entropy has one term per class, so the maximum is at p = 1/e. 0 log 0 is 0.

    Args:
        logits: (B, K, *spatial).
        regions: sigmoid heads instead of softmax.
        temperatures: shape (K,), above 0; calibrate the probabilities, see `masks.probabilities`.

    Returns:
        Entropy, shape of `logits`, 0 to 1/e nats.

    Examples:
        >>> logits = torch.zeros(1, 2, 1, 1)  # p = 0.5
        >>> [round(nats, 3) for nats in class_entropy(logits, regions=False).flatten().tolist()]
        [0.347, 0.347]
    """
    return torch.special.entr(probabilities(logits.float(), regions, temperatures))


def uncertainty(step_logits: list[Tensor], regions: bool, temperatures: Tensor | None = None) -> Tensor:
    """Compute the maximum of `class_entropy` over the last T_s steps (paper eq. 5).

    Args:
        step_logits: T_s tensors (B, K, *spatial), means over the chains.
        regions: sigmoid heads instead of softmax.
        temperatures: shape (K,), above 0; calibrate the probabilities, see `masks.probabilities`.

    Returns:
        Map per class (B, K, *spatial), 0 to 1/e nats.

    Examples:
        >>> certain = torch.tensor([9.0, -9.0]).view(1, 2, 1, 1)
        >>> [round(nats, 3) for nats in uncertainty([0 * certain, certain], False).flatten().tolist()]
        [0.347, 0.347]
    """
    heatmap = class_entropy(step_logits[0], regions, temperatures)
    for logits in step_logits[1:]:
        heatmap = torch.maximum(heatmap, class_entropy(logits, regions, temperatures))
    return heatmap


FUSIONS: dict[str, Fusion] = {
    "exponential": Exponential(),
    "step_uncertainty": StepUncertainty(),
    "ensemble": Ensemble(),
}
