"""Mirrored copies: nnU-Net's own numbers one by one, the same ones side by side."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_spinesegdiff.diffusion.masks import hard_masks
from nnunetv2_spinesegdiff.inference.mirrored import predict_mirrored

from ..helpers.model_plans import build, image

SHAPES = {2: (1, 1, 20, 27), 3: (1, 1, 9, 12, 18)}
AXES: dict[int, list] = {2: [None, (0,), (1,), (0, 1)], 3: [None, (1,), (0, 1, 2)]}
CASES = [(axes, mirrored) for axes in (2, 3) for mirrored in AXES[axes]]


def predicted(network, scan, axes, *, mirror_refinement=True, side_by_side=False):
    with torch.inference_mode():
        return predict_mirrored(
            network, scan, axes, mirror_refinement=mirror_refinement, side_by_side=side_by_side
        )


@pytest.mark.parametrize("result", ["refined", "mean of both", "stage 1"])
@pytest.mark.parametrize(("axes", "mirrored"), CASES)
def test_logits_are_nnunets_to_the_bit(axes, mirrored, result):
    network, scan = build(axes), image(*SHAPES[axes])
    network.refine_predictions = result != "stage 1"
    if result == "mean of both":
        network.configure_sampler(stage1_weight=0.5)
    stock = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=mirrored is not None)
    stock.network, stock.allowed_mirroring_axes = network, mirrored
    expected = stock._internal_maybe_mirror_and_predict(scan)
    assert torch.equal(predicted(network, scan, mirrored).logits, expected)


@pytest.mark.parametrize("mirror_refinement", [True, False])
@pytest.mark.parametrize(("axes", "mirrored"), CASES)
def test_side_by_side_is_the_same_as_one_by_one(axes, mirrored, mirror_refinement):
    network, scan = build(axes), image(*SHAPES[axes])
    network.configure_sampler(num_samples=3)
    alone, together = (
        predicted(network, scan, mirrored, mirror_refinement=mirror_refinement, side_by_side=side_by_side)
        for side_by_side in (False, True)
    )
    assert torch.allclose(alone.logits, together.logits, atol=1e-5)
    assert torch.allclose(alone.stage1, together.stage1, atol=1e-5)
    assert torch.allclose(alone.steps.uncertainty(), together.steps.uncertainty(), atol=1e-5)


def test_stage1_and_the_steps_are_means_over_copies_turned_back():
    network, scan = build(), image(*SHAPES[2])
    found = predicted(network, scan, (0, 1))
    stage1, steps = torch.zeros_like(found.stage1), [torch.zeros_like(s) for s in found.steps.means]
    with torch.inference_mode():
        for dims in [(), (2,), (3,), (2, 3)]:
            copy = torch.flip(scan, dims)
            stage1 += torch.flip(network.presegment(copy), dims) / 4
            for total, logits in zip(steps, network.refine(copy).means, strict=True):
                total += torch.flip(logits, dims) / 4
    assert torch.allclose(found.stage1, stage1, atol=1e-5)
    for total, logits in zip(steps, found.steps.means, strict=True):
        assert torch.allclose(total, logits, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_without_mirrored_refinement_the_mean_presegmentation_is_refined_once(weight):
    network, scan = build(), image(*SHAPES[2])
    network.configure_sampler(stage1_weight=weight)
    found = predicted(network, scan, (0, 1), mirror_refinement=False)
    refined = network.refine(scan, hard_masks(found.stage1, False)).logits
    expected = weight * found.stage1.softmax(1) + (1 - weight) * refined.softmax(1)
    assert torch.allclose(found.logits.softmax(1), expected, atol=1e-5)
    mirrored = predicted(network, scan, (0, 1)).logits.softmax(1)
    assert not torch.allclose(found.logits.softmax(1), mirrored, atol=1e-3)


def test_stage1_alone_is_unsure_where_its_softmax_is():
    network, scan = build(), image(*SHAPES[2])
    network.refine_predictions = False
    found = predicted(network, scan, (0, 1))
    p = found.logits.softmax(1)
    assert found.stage1 is None  # nothing to compare the result with
    assert torch.allclose(found.steps.uncertainty(), -p * p.log(), atol=1e-6)


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_out_of_memory_halves_the_batch_and_changes_nothing(fits, monkeypatch):
    """A denoiser for which more than `fits` inputs are too many."""
    network, scan = build(), image(*SHAPES[2])
    network.configure_sampler(num_samples=2)
    expected = predicted(network, scan, (0, 1), side_by_side=True)
    plain = network.denoiser.forward
    sizes: list[int] = []

    def forward(x_t, *rest):
        if len(x_t) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        sizes.append(len(x_t))
        return plain(x_t, *rest)

    monkeypatch.setattr(network.denoiser, "forward", forward)
    found = predicted(network, scan, (0, 1), side_by_side=True)
    assert max(sizes) <= fits
    assert torch.allclose(found.logits, expected.logits, atol=1e-5)
