"""The refiner's loss: MSE of the probabilities in addition to nnU-Net's Dice and cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..diffusion.masks import one_hot_channels, probabilities


class RefinementLoss(nn.Module):
    """L_MSE + L_Dice + L_BCE (paper appendix A.2) over the K heads, ignore label left out of all three.

    Args:
        dice_and_ce: nnU-Net's `DC_and_CE_loss` (classes) or `DC_and_BCE_loss` (regions), built with the
            ignore label of the dataset.
        regions: the heads are regions with sigmoids.
        ignore_label: nnU-Net's ignore label or None. With regions the target's last channel marks it.
    """

    def __init__(self, dice_and_ce: nn.Module, regions: bool, ignore_label: int | None):
        super().__init__()
        self.dice_and_ce = dice_and_ce
        self.regions = regions
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits (B, K, *spatial); target as loaded by nnU-Net: (B, 1, *spatial) labels, or regions."""
        return self.mse(logits, target) + self.dice_and_ce(logits, target)

    def mse(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over all heads and all pixels that are not ignored of (probability - target)^2."""
        wanted, counted = self._one_hot(target, logits.shape[1])
        squared = (probabilities(logits.float(), self.regions) - wanted) ** 2
        if counted is None:
            return squared.mean()
        return (squared * counted).sum() / (counted.sum() * logits.shape[1]).clamp(min=1)

    def _one_hot(self, target: Tensor, num_heads: int) -> tuple[Tensor, Tensor | None]:
        if self.regions:
            if self.ignore_label is None:
                return target.float(), None
            return target[:, :-1].float(), 1 - target[:, -1:].float()
        labels = target[:, 0].long()
        if self.ignore_label is None:
            return one_hot_channels(labels, num_heads), None
        counted = labels != self.ignore_label
        return one_hot_channels(torch.where(counted, labels, 0), num_heads), counted[:, None].float()
