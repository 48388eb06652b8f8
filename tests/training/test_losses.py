"""The refiner's loss against plain loops, and that ignored pixels have no say in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunetv2_spinesegdiff.training.losses import RefinementLoss

IGNORE, HEADS = 4, 4


def loss_of(regions: bool, ignore: bool) -> RefinementLoss:
    """Built as `nnUNetTrainer._build_loss` builds it."""
    dice = {"batch_dice": True, "smooth": 1e-5, "ddp": False, "do_bg": regions}
    stock: torch.nn.Module
    if regions:
        stock = DC_and_BCE_loss({}, dice, use_ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss)
    else:
        ignore_label = IGNORE if ignore else None
        stock = DC_and_CE_loss(dice, {}, ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss)
    return RefinementLoss(stock, regions, IGNORE if ignore else None)


def drawn(regions: bool, ignore: bool, axes: int = 2, seed: int = 0):
    """Logits, target as nnU-Net's loader gives it, and where pixels count (B, 1, *spatial)."""
    rng = np.random.default_rng(seed)
    spatial = (4, 5, 3)[:axes]
    logits = torch.from_numpy(rng.normal(0, 2, (2, HEADS, *spatial))).float()
    counted = torch.from_numpy(rng.random((2, 1, *spatial)) < (0.7 if ignore else 2))
    if regions:
        channels = torch.from_numpy(rng.random((2, HEADS, *spatial)) < 0.4) & counted
        return logits, torch.cat([channels, ~counted], 1).float() if ignore else channels.float(), counted
    labels = torch.from_numpy(rng.integers(0, HEADS, (2, 1, *spatial)))
    return logits, torch.where(counted, labels, IGNORE), counted


def by_loops(
    logits: np.ndarray, target: np.ndarray, counted: np.ndarray, regions: bool, ignore: bool
) -> float:
    """L_MSE + L_Dice + L_CE, pixel by pixel; target (B, K, n) in {0, 1}, counted (B, n)."""
    # nnU-Net's BCE is a mean over regions, too, unless there is an ignore label.
    bce_share = 1 if ignore else 1 / HEADS
    squared = entropy = 0.0
    pixels = 0
    overlap, predicted, wanted = np.zeros(HEADS), np.zeros(HEADS), np.zeros(HEADS)
    for b in range(logits.shape[0]):
        for i in range(logits.shape[2]):
            if not counted[b, i]:
                continue
            pixels += 1
            z, y = logits[b, :, i], target[b, :, i]
            p = 1 / (1 + np.exp(-z)) if regions else np.exp(z) / np.exp(z).sum()
            for k in range(HEADS):
                squared += (p[k] - y[k]) ** 2
                if regions:
                    entropy -= bce_share * math.log(p[k] if y[k] else 1 - p[k])
                elif y[k]:
                    entropy -= math.log(p[k])
                overlap[k] += p[k] * y[k]
                predicted[k] += p[k]
                wanted[k] += y[k]
    dice = (2 * overlap + 1e-5) / (predicted + wanted + 1e-5)
    return squared / (pixels * HEADS) - dice[0 if regions else 1 :].mean() + entropy / pixels


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("regions", "ignore"), [(False, False), (False, True), (True, False), (True, True)])
def test_loss_is_mse_plus_dice_plus_cross_entropy(regions, ignore, axes):
    logits, target, counted = drawn(regions, ignore, axes)
    if regions:
        one_hot = target[:, :HEADS]
    else:
        one_hot = torch.stack([(target[:, 0] == k).float() for k in range(HEADS)], 1)
    z, y = (a.flatten(2).double().numpy() for a in (logits, one_hot))
    expected = by_loops(z, y, counted.flatten(1).numpy(), regions, ignore)
    actual = float(loss_of(regions, ignore)(logits, target))
    assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("regions", [False, True])
def test_ignored_pixels_change_nothing_and_get_no_gradient(regions):
    loss = loss_of(regions, ignore=True)
    logits, target, counted = drawn(regions, ignore=True)
    other = torch.where(counted, logits, 5 * torch.randn_like(logits)).requires_grad_()
    value = loss(other, target)
    torch.testing.assert_close(value, loss(logits, target))
    value.backward()
    assert other.grad is not None
    assert (other.grad[~counted.expand_as(other)] == 0).all()
    assert (other.grad[counted.expand_as(other)] != 0).any()
    visible = torch.where(counted, logits + 1 * torch.randn_like(logits), logits)
    assert not torch.allclose(loss(visible, target), loss(logits, target))


@pytest.mark.parametrize("regions", [False, True])
def test_a_batch_that_is_ignored_everywhere_has_a_finite_loss(regions):
    logits, target, _ = drawn(regions, ignore=True)
    logits.requires_grad_()
    if regions:
        target = torch.zeros_like(target)
        target[:, -1] = 1
    else:
        target = torch.full_like(target, IGNORE)
    loss = loss_of(regions, ignore=True)
    value = loss(logits, target)
    value.backward()
    assert value.isfinite()
    assert float(loss.mse(logits, target).detach()) == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
