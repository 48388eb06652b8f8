"""The two-stage network as nnU-Net uses it: built from plans, called, trained, saved, compiled."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunetv2_spinesegdiff.diffusion.masks import encode_masks, hard_masks
from nnunetv2_spinesegdiff.diffusion.sampler import sample
from nnunetv2_spinesegdiff.network.denoiser import DenoisingUNet, encode
from nnunetv2_spinesegdiff.network.two_stage import TrainingOutput
from nnunetv2_spinesegdiff.training import trainers

from ..helpers.model_plans import build, image


@contextmanager
def counted_calls(module: nn.Module) -> Iterator[list]:
    calls: list = []
    handle = module.register_forward_hook(lambda *args: calls.append(args))
    yield calls
    handle.remove()


def noised(
    target: torch.Tensor, logits: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A stand-in for the trainer's `make_noised_mask`."""
    assert logits is not None
    x_t = encode_masks(hard_masks(logits, False))
    return x_t, torch.full((logits.shape[0],), 7), torch.zeros_like(x_t)


TARGET = torch.zeros(2, 1, 16, 24)


@torch.no_grad()
def predict(network: nn.Module, scan: torch.Tensor) -> torch.Tensor:
    return network(scan)


# --- building --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_all_parts_come_from_the_plans(axes, residual):
    network = build(axes, residual=residual)
    planned = ResidualEncoderUNet if residual else PlainConvUNet
    assert type(network.stage1) is type(network.denoiser.unet) is planned
    for encoder in (network.stage1.encoder, network.denoiser.unet.encoder, network.denoiser.image_encoder):
        assert list(encoder.output_channels) == [8, 12, 16]
    kinds = {type(m) for m in network.modules() if "Conv" in type(m).__name__ and "nn" in type(m).__module__}
    assert {k.__name__ for k in kinds if k.__module__.startswith("torch")} == {
        f"Conv{axes}d",
        f"ConvTranspose{axes}d",
    }


def test_width_scales_the_refiner_and_encoders_of_different_widths_are_refused():
    wide, narrow = build(), build(trainer=trainers.nnUNetTrainerSpineSegDiff_width50)
    assert list(narrow.stage1.encoder.output_channels) == [8, 12, 16]
    assert list(narrow.denoiser.unet.encoder.output_channels) == [4, 6, 8]
    assert list(narrow.denoiser.image_encoder.output_channels) == [4, 6, 8]
    with pytest.raises(ValueError, match=r"\[4, 6, 8\].*\[8, 12, 16\]"):
        DenoisingUNet(wide.denoiser.unet, narrow.denoiser.image_encoder)


# --- predicting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    "shape", [(16, 24), (17, 25), (19, 30), (33, 16), (16, 24, 24), (17, 18, 25), (18, 23, 17)], ids=str
)
def test_any_size_gives_logits_of_that_size(shape, residual):
    network = build(len(shape), residual=residual)
    for refine in (True, False):
        network.refine_predictions = refine
        logits = predict(network, image(2, 1, *shape))
        assert logits.shape == (2, 4, *shape)
        assert logits.isfinite().all()


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (1, 5), (4, 3)])
def test_the_image_is_encoded_once_whatever_is_sampled(samples, steps):
    network = build()
    network.configure_sampler(num_samples=samples, ddim_steps=steps, fusion_steps=1)
    stage, unet = network.denoiser.image_encoder.stages[0], network.denoiser.unet.encoder.stages[0]
    with counted_calls(stage) as images, counted_calls(unet) as denoised:
        predict(network, image(2, 1, 16, 24))
    assert len(images) == 1
    assert len(denoised) == steps
    assert all(call[1][0].shape[0] == 2 for call in images)


def test_the_refiner_starts_from_stage_1():
    """`forward` is `sample` on stage 1's hard masks, and another presegmentation gives another result."""
    network, scan = build(), image(1, 1, 16, 24)
    with torch.no_grad():
        masks = hard_masks(network.stage1(scan), False)
        features = network.denoiser.encode_image(scan)
        expected = sample(
            lambda x_t, t: network.denoiser(x_t, t, scan, features),
            encode_masks(masks),
            scan,
            network.sampler,
            network.alphas_cumprod,
        )
        assert torch.equal(network(scan), expected.logits)
        assert torch.equal(network.refine(scan, masks).uncertainty(), expected.uncertainty())
        other = network.refine(scan, masks.roll(5, dims=-1)).logits
    assert not torch.allclose(other, expected.logits, atol=1e-3)


def test_the_image_reaches_the_denoiser_by_both_ways():
    network, scan = build(), image(1, 1, 16, 24)
    x_t, t = image(1, 4, 16, 24, seed=1), torch.tensor([5])
    with torch.no_grad():
        features = network.denoiser.encode_image(scan)
        assert features is not None
        base = network.denoiser(x_t, t, scan, features)
        assert not torch.allclose(network.denoiser(x_t, t, scan * 0, features), base, atol=1e-3)
        for i in range(len(features)):
            blank = [f * (j != i) for j, f in enumerate(features)]
            assert not torch.allclose(network.denoiser(x_t, t, scan, blank), base, atol=1e-4), f"scale {i}"


def test_chains_keep_to_their_own_image():
    """Chains lie chain by chain: item s * B + b belongs to image b, concatenated and as features."""
    network = build()
    scans, x_t = image(2, 1, 16, 24), image(6, 4, 16, 24, seed=1)
    t = torch.tensor([3, 3, 9, 9, 30, 30])
    with torch.no_grad():
        together = network.denoiser(x_t, t, scans, network.denoiser.encode_image(scans))
        for i in range(6):
            scan = scans[i % 2][None]
            alone = network.denoiser(x_t[i][None], t[i][None], scan, network.denoiser.encode_image(scan))
            torch.testing.assert_close(together[i][None], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(16, 24), (17, 25)], ids=str)
def test_without_refinement_the_output_is_stage_1(shape):
    network, scan = build(), image(2, 1, *shape)
    network.refine_predictions = False
    padded = nn.functional.pad(scan, (0, -shape[1] % 8, 0, -shape[0] % 4))
    with torch.no_grad():
        assert torch.equal(network(scan), network.stage1(padded)[..., : shape[0], : shape[1]])


@pytest.mark.parametrize("weight", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("regions", [False, True])
def test_the_mean_of_both_stages_is_one_of_probabilities(regions, weight):
    network, scan = build(), image(2, 1, 17, 25)
    network.heads_are_regions.fill_(regions)

    def p(logits: torch.Tensor) -> np.ndarray:
        values = logits.double().numpy()
        if regions:
            return 1 / (1 + np.exp(-values))
        exponentials = np.exp(values)
        return exponentials / exponentials.sum(1, keepdims=True)

    refined = predict(network, scan)
    network.configure_sampler(stage1_weight=weight)
    with torch.no_grad():
        stage1 = network.presegment(scan)
    expected = weight * p(stage1) + (1 - weight) * p(refined)
    np.testing.assert_allclose(p(predict(network, scan)), expected, atol=1e-5)
    assert not np.allclose(expected, p(refined), atol=1e-3)


def test_a_batch_of_two_is_the_two_alone_and_twice_is_once():
    network, scans = build(), image(2, 1, 19, 30)
    network.configure_sampler(num_samples=2, ddim_steps=3, fusion_steps=2, t_start=300)
    together = predict(network, scans)
    assert torch.equal(predict(network, scans), together)
    for i in range(2):
        torch.testing.assert_close(together[i][None], predict(network, scans[i][None]), atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(network)(scans), together)


def test_weights_and_the_kind_of_heads_survive_a_strict_round_trip():
    """The heads of regions are thresholded one by one, and a loaded model knows that without the dataset."""
    trained, loaded, scan = build(seed=1), build(seed=2), image(1, 1, 16, 24)
    trained.heads_are_regions.fill_(True)
    as_regions = predict(trained, scan)
    loaded.load_state_dict(trained.state_dict(), strict=True)
    assert bool(loaded.heads_are_regions)
    assert torch.equal(predict(loaded, scan), as_regions)
    loaded.heads_are_regions.fill_(False)
    assert not torch.allclose(predict(loaded, scan), as_regions)


# --- what nnU-Net does with a network --------------------------------------------------------------------


def test_deep_supervision_is_switched_where_nnunet_switches_it():
    network, scan = build(deep_supervision=True), image(2, 1, 16, 24)
    assert network.decoder is network.stage1.decoder
    wrapped = predict(network, scan)
    assert isinstance(wrapped, list)
    assert [w.shape for w in wrapped] == [(2, 4, 16, 24)]
    stage1 = network.train()(scan, noised, TARGET).stage1
    assert [tuple(s.shape) for s in stage1] == [(2, 4, 16, 24), (2, 4, 8, 12)]
    network.eval().decoder.deep_supervision = False
    plain = predict(network, scan)
    assert torch.equal(plain, wrapped[0])
    assert torch.is_tensor(network(scan, noised, TARGET).stage1)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_refiners_loss_reaches_every_weight_of_the_refiner_and_none_of_stage_1(frozen):
    """DDP stops on weights without a gradient."""
    network = build(deep_supervision=True).train()
    if frozen:
        network.freeze_stage1()
        network.train()
        assert network.denoiser.training
        assert not any(m.training for m in network.stage1.modules())
    output: Any = network(image(2, 1, 16, 24), noised, TARGET)
    assert type(output) is TrainingOutput
    stage1: Any = output.stage1
    assert any(s.requires_grad for s in stage1) != frozen
    output.model_output.square().mean().backward()
    assert all(p.grad is not None for p in network.denoiser.parameters() if p.requires_grad)
    assert all(p.grad is None for p in network.stage1.parameters())
    if not frozen:
        torch.stack([s.square().mean() for s in stage1]).sum().backward()
        assert all(p.grad is not None for p in network.stage1.parameters())


@pytest.mark.filterwarnings("ignore")
def test_compiled_network_predicts_the_same_and_trains():
    network, scan = build(), image(2, 1, 16, 24)
    expected = predict(network, scan)
    torch._dynamo.reset()
    compiled: Any = torch.compile(network, backend="eager")
    torch.testing.assert_close(predict(compiled, scan), expected, atol=1e-5, rtol=1e-5)
    network.refine_predictions = False
    torch.testing.assert_close(predict(compiled, scan), network.presegment(scan), atol=1e-5, rtol=1e-5)
    network.freeze_stage1()
    compiled.train()
    output = compiled(scan, noised, TARGET)
    output.model_output.square().mean().backward()
    assert all(p.grad is not None for p in network.denoiser.parameters())
    assert all(p.grad is None for p in network.stage1.parameters())
    torch._dynamo.reset()


@pytest.mark.parametrize("axes", [2, 3])
def test_a_given_mask_of_any_size_has_a_class_everywhere_in_the_network(axes):
    """Padding it with zeros would show the denoiser pixels of no class, which no training shows it."""
    network, shape = build(axes), [13] * (axes - 1) + [22]
    seen: list[torch.Tensor] = []
    network.denoiser.unet.encoder.stages[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0][:, 1:])
    )
    network.configure_sampler(t_start=1, ddim_steps=1, fusion_steps=1)
    masks = hard_masks(image(1, 4, *shape), regions=False)
    with torch.no_grad():
        network.refine(image(1, 1, *shape), masks)
    assert seen[0].shape[2:] != masks.shape[2:]
    assert (seen[0].amax(1) > 0.5).all()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_denoiser_that_starts_from_stage_1_gives_its_logits_for_any_mask(axes, residual):
    """Where no step modulates its features and no image encoder adds to them."""
    network = build(axes, residual=residual)
    network.start_from_stage1()
    for modulation in (*network.denoiser.encoder_modulations, *network.denoiser.decoder_modulations):
        nn.init.zeros_(modulation.to_scale_and_shift.weight)
        nn.init.zeros_(modulation.to_scale_and_shift.bias)
    scan = image(1, 1, *(16,) * axes)
    with torch.no_grad():
        for seed in range(2):
            x_t = image(1, 4, *(16,) * axes, seed=seed)
            found = network.denoiser(x_t, torch.tensor([5]), scan, None)
            torch.testing.assert_close(found, network.presegment(scan))
        features = network.denoiser.encode_image(scan)
        for own, of_stage1 in zip(features, encode(network.stage1.encoder, scan), strict=True):
            torch.testing.assert_close(own, of_stage1)
