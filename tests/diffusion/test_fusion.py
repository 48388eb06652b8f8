"""How steps and chains become one segmentation and its uncertainty (paper eqs. 3 to 5, and the others')."""

from __future__ import annotations

import math

import pytest
import torch

from nnunetv2_spinesegdiff.diffusion.ddim import StepOutput
from nnunetv2_spinesegdiff.diffusion.fusion import (
    FUSIONS,
    class_entropy,
    fuse,
    fusion_weights,
    uncertainty,
)
from nnunetv2_spinesegdiff.diffusion.masks import LEAST, logits_of, probabilities


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_weights_are_the_papers_normalised_and_grow_to_the_cleanest_step(steps):
    weights = fusion_weights(steps)
    assert weights.dtype == torch.float64
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    assert (weights.diff() > 0).all()
    for t in range(1, steps + 1):
        unnormalised = math.exp(-(steps / 2) * (steps - t) / steps)
        assert float(weights[t - 1] / weights[-1]) == pytest.approx(unnormalised, rel=1e-12)
    # With the paper's raw weights equal steps would be fused to something more confident.
    logits = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(fuse([logits] * steps), logits)


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
    certain = logits_of(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), regions)
    assert torch.isfinite(certain.half()).all()
    assert float(probabilities(certain, regions)[0, 0]) > 1 - 3 * LEAST
    if not regions:  # a constant per pixel changes nothing
        moved = probabilities(logits + torch.randn(2, 1, 4, 5), regions, temperatures)
        torch.testing.assert_close(moved.double(), expected, atol=1e-5, rtol=1e-4)
    ones = torch.ones(3)
    torch.testing.assert_close(probabilities(logits, regions, ones), probabilities(logits, regions))


# --- Diff-UNet and the implicit ensemble -----------------------------------------------------------------


def chains_of_steps(steps: int, chains: int, regions: bool, seed: int = 0) -> list[list[StepOutput]]:
    """Step by step what every chain says, (1, 3, 4, 5)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((steps, chains, 1, 3, 4, 5), generator=generator) * 3
    return [[StepOutput(x, probabilities(x, regions) * 2 - 1) for x in step] for step in logits]


def means_over_chains(name: str, steps: list[list[StepOutput]]) -> list[torch.Tensor]:
    kept = [[FUSIONS[name].kept(chain) for chain in step] for step in steps]
    return [torch.stack(tensors).mean(0) for step in kept for tensors in zip(*step, strict=True)]


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize(("steps", "chains"), [(1, 1), (2, 3), (10, 4)])
def test_step_uncertainty_fusion_is_a_plain_loop(regions, steps, chains):
    outputs = chains_of_steps(steps, chains, regions)
    means = means_over_chains("step_uncertainty", outputs)
    fused = probabilities(FUSIONS["step_uncertainty"].logits(means, regions), regions)
    heatmap = FUSIONS["step_uncertainty"].uncertainty(means, regions, None)
    for k, y, x in ((k, y, x) for k in range(3) for y in range(4) for x in range(5)):
        total, weights, worst = [0.0] * 3, [0.0] * 3, 0.0
        for i, step in enumerate(outputs, 1):
            for c in range(3):
                p = sum((float(s.pred_x0[0, c, y, x]) + 1) / 2 for s in step) / chains
                weight = math.exp((1 - -p * math.log(p)) / (1 + math.exp(-i / steps)))
                total[c], weights[c] = total[c] + weight * p, weights[c] + weight
                worst = max(worst, -p * math.log(p)) if c == k else worst
        expected = total[k] / weights[k] if regions else total[k] / sum(total)
        assert float(fused[0, k, y, x]) == pytest.approx(expected, abs=1e-4)
        assert float(heatmap[0, k, y, x]) == pytest.approx(worst, abs=1e-4)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("chains", [1, 5])
def test_the_ensemble_is_mean_and_variance_of_the_last_masks(regions, chains):
    outputs = chains_of_steps(1, chains, regions)
    means = means_over_chains("ensemble", outputs)
    masks = torch.stack([(s.pred_x0 + 1) / 2 for s in outputs[0]])
    mean = masks.mean(0)
    fused = probabilities(FUSIONS["ensemble"].logits(means, regions), regions)
    expected = mean if regions else mean / mean.sum(1, keepdim=True)
    torch.testing.assert_close(fused, expected, atol=1e-4, rtol=0)
    heatmap = FUSIONS["ensemble"].uncertainty(means, regions, None)
    torch.testing.assert_close(heatmap, masks.var(0, correction=0), atol=1e-5, rtol=0)
