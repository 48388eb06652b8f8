"""Fusion of the last steps and uncertainty (paper eqs. 3 to 5)."""

from __future__ import annotations

import math

import pytest
import torch

from nnunetv2_spinesegdiff.diffusion.fusion import class_entropy, fuse, fusion_weights, uncertainty
from nnunetv2_spinesegdiff.diffusion.masks import probabilities


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_weights_are_the_papers_normalised_and_grow_to_the_cleanest_step(steps):
    weights = fusion_weights(steps)
    assert weights.dtype == torch.float64
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    assert (weights.diff() > 0).all()
    for t in range(1, steps + 1):
        unnormalised = math.exp(-(steps / 2) * (steps - t) / steps)
        assert float(weights[t - 1] / weights[-1]) == pytest.approx(unnormalised, rel=1e-12)


def test_equal_steps_fuse_to_themselves():
    """The fused softmax is as confident as one step's; with the paper's raw weights it would be sharper."""
    logits = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(fuse([logits] * 7), logits)


@pytest.mark.parametrize("regions", [False, True])
def test_entropy_is_largest_at_1_over_e_and_zero_where_the_model_is_certain(regions):
    certain = torch.tensor([90.0, -90.0]).view(1, 2, 1, 1)
    assert class_entropy(certain, regions).max() < 1e-6
    p = 1 / math.e
    doubtful = torch.tensor([math.log(p / (1 - p)), 0.0]).view(1, 2, 1, 1)
    assert float(class_entropy(doubtful, regions)[0, 0, 0, 0]) == pytest.approx(1 / math.e, abs=1e-6)


def test_heatmap_keeps_the_worst_of_the_fused_steps():
    certain, doubtful = torch.tensor([9.0, -9.0]).view(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    for steps in ([certain, doubtful], [doubtful, certain], [certain, doubtful, certain]):
        torch.testing.assert_close(uncertainty(steps, False), class_entropy(doubtful, False))


@pytest.mark.parametrize("regions", [False, True])
def test_temperatures_act_on_log_probabilities(regions):
    logits, temperatures = torch.randn(2, 3, 4, 5), torch.tensor([0.5, 1.0, 3.0])
    p = probabilities(logits, regions).double()
    view = temperatures.view(-1, 1, 1).double()
    expected = p ** (1 / view)
    expected = expected / (expected + (1 - p) ** (1 / view) if regions else expected.sum(1, keepdim=True))
    torch.testing.assert_close(
        probabilities(logits, regions, temperatures).double(), expected, atol=1e-6, rtol=1e-5
    )
    entropy = class_entropy(logits, regions, temperatures).double()
    torch.testing.assert_close(entropy, -expected * expected.log(), atol=1e-6, rtol=1e-4)
    if not regions:  # a constant a pixel says nothing
        moved = probabilities(logits + torch.randn(2, 1, 4, 5), regions, temperatures)
        torch.testing.assert_close(moved.double(), expected, atol=1e-5, rtol=1e-4)
    ones = torch.ones(3)
    torch.testing.assert_close(probabilities(logits, regions, ones), probabilities(logits, regions))
