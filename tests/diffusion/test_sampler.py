"""Fusion and uncertainty (paper eqs. 3 to 5, Algorithm 1), and the noise that belongs to an image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.diffusion.fusion import class_entropy, fuse, fusion_weights, uncertainty
from nnunetv2_spinesegdiff.diffusion.noise import CaseNoise, content_seed
from nnunetv2_spinesegdiff.diffusion.sampler import Sampled, SamplerSettings, sample

from .algorithm1 import ToyModel, sampled_case


@st.composite
def sampler_settings(draw) -> SamplerSettings:
    length = draw(st.integers(1, 1000))
    t_start = draw(st.integers(1, length))
    steps = draw(st.integers(1, min(t_start, 8)))
    return SamplerSettings(
        schedule=draw(st.sampled_from(["cosine", "linear"])),
        num_train_timesteps=length,
        t_start=t_start,
        ddim_steps=steps,
        num_samples=draw(st.integers(1, 5)),
        fusion_steps=draw(st.integers(1, steps)),
        eta=draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        seed=draw(st.integers(0, 100)),
    )


def toy_case(*, axes: int = 2, heads: int = 3, batch: int = 2, seed: int = 0):
    rng = np.random.default_rng(seed)
    spatial = (5, 4, 3)[:axes]
    images = torch.from_numpy(rng.normal(size=(batch, 1, *spatial))).float()
    x_pre = torch.from_numpy(np.where(rng.random((batch, heads, *spatial)) < 0.5, -1.0, 1.0)).float()
    return ToyModel.random(heads, rng), x_pre, images


def run(model, x_pre, images, s: SamplerSettings, **kwargs) -> Sampled:
    return sample(model.batch(images), x_pre, images, s, s.alphas_cumprod(), **kwargs)


@given(
    sampler_settings(), st.integers(2, 3), st.booleans(), st.sampled_from([None, 1, 2]), st.integers(0, 999)
)
@settings(max_examples=60)
def test_sampling_is_algorithm_1(s, axes, regions, chains_per_batch, seed):
    model, x_pre, images = toy_case(axes=axes, seed=seed)
    sampled = run(model, x_pre, images, s, regions=regions, chains_per_batch=chains_per_batch)
    for b in range(len(images)):
        logits, heatmap = sampled_case(model, x_pre[b].double().numpy(), images[b], s, regions)
        np.testing.assert_allclose(sampled.logits[b], logits, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(sampled.uncertainty[b], heatmap, atol=1e-5)


def test_a_case_does_not_depend_on_its_neighbours():
    s = SamplerSettings(ddim_steps=3, num_samples=3, fusion_steps=2, eta=1.0, t_start=500)
    model, x_pre, images = toy_case(batch=4)
    together = run(model, x_pre, images, s).logits
    for i in range(4):
        alone = run(model, x_pre[i : i + 1], images[i : i + 1], s).logits
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=1e-6)
    backwards = run(model, x_pre.flip(0), images.flip(0), s).logits
    torch.testing.assert_close(together, backwards.flip(0), atol=1e-6, rtol=1e-6)


def test_seed_and_eta_matter_and_repeating_does_not():
    base = SamplerSettings(ddim_steps=3, fusion_steps=2, t_start=500)
    results = {}
    for name, s in {
        "once": base,
        "twice": base,
        "other seed": replace(base, seed=1),
        "stochastic": replace(base, eta=1.0),
    }.items():
        model, x_pre, images = toy_case()
        results[name] = run(model, x_pre, images, s).logits
    assert torch.equal(results["once"], results["twice"])
    assert not torch.allclose(results["once"], results["other seed"])
    assert not torch.allclose(results["once"], results["stochastic"])


# --- fusion and uncertainty ------------------------------------------------------------------------------


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


# --- noise -----------------------------------------------------------------------------------------------


def image(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape or (1, 6, 7), generator=torch.Generator().manual_seed(seed))


def test_noise_follows_the_pixels_alone():
    batch = torch.stack([image(1), image(2), image(3)])
    alone = CaseNoise(batch[1:2], 0, range(1)).draw((4, 6, 7))
    assert torch.equal(CaseNoise(batch, 0, range(1)).draw((4, 6, 7))[1:2], alone)
    assert torch.equal(CaseNoise(batch.flip(0), 0, range(1)).draw((4, 6, 7))[1:2], alone)
    assert torch.equal(CaseNoise(batch, 0, range(5)).draw((4, 6, 7))[1:2], alone)
    assert torch.equal(CaseNoise(batch[1:2].double(), 0, range(1)).draw((4, 6, 7)), alone)


def test_chain_3_is_chain_3_whichever_chains_run_beside_it():
    batch = torch.stack([image(1), image(2)])
    all_chains = CaseNoise(batch, 0, range(5)).draw((2, 3)).view(5, 2, 2, 3)
    assert torch.equal(CaseNoise(batch, 0, range(3, 5)).draw((2, 3)).view(2, 2, 2, 3), all_chains[3:])


def test_memory_layout_does_not_change_the_noise():
    pixels = image(1, 3, 6, 8)
    strided = torch.empty(6, 8, 3).permute(2, 0, 1).copy_(pixels)
    assert strided.stride() != pixels.stride()
    assert content_seed(strided, 0, 0) == content_seed(pixels, 0, 0)


def test_noise_differs_between_images_mirrors_shapes_seeds_and_chains():
    pixels = image(1)
    seeds = [
        content_seed(pixels, 0, 0),
        content_seed(pixels.flip(1), 0, 0),
        content_seed(pixels.flip(2), 0, 0),
        content_seed(pixels.flip(1, 2), 0, 0),
        content_seed(pixels.reshape(1, 7, 6), 0, 0),
        content_seed(pixels, 1, 0),
        content_seed(pixels, 0, 1),
        content_seed(image(2), 0, 0),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_successive_draws_differ_and_are_standard_normal():
    noise = CaseNoise(torch.stack([image(1), image(2)]), 0, range(2))
    first, second = noise.draw((4, 64, 64)), noise.draw((4, 64, 64))
    assert first.shape == (4, 4, 64, 64)
    flat = torch.cat([first, second]).flatten(1)
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.05
    assert flat.mean().abs() < 0.02
    assert abs(float(flat.std()) - 1) < 0.02


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"t_start": 0}, "t_start = 0"),
        ({"t_start": 1001}, "t_start = 1001"),
        ({"num_train_timesteps": 29}, "t_start = 30"),
        ({"ddim_steps": 0}, "ddim_steps = 0"),
        ({"ddim_steps": 31}, "ddim_steps = 31"),
        ({"fusion_steps": 0}, "fusion_steps = 0"),
        ({"fusion_steps": 3}, "fusion_steps = 3"),
        ({"num_samples": 0}, "num_samples = 0"),
        ({"eta": -0.1}, "eta = -0.1"),
        ({"eta": 1.1}, "eta = 1.1"),
        ({"eta": math.nan}, "eta = nan"),
        ({"schedule": "sigmoid"}, "sigmoid"),
    ],
)
def test_impossible_settings_are_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        SamplerSettings(**changes)


def test_light_noise_and_a_complete_schedule_are_both_expressible():
    light = SamplerSettings(num_train_timesteps=1000, t_start=30)
    complete = SamplerSettings(num_train_timesteps=30, t_start=30, ddim_steps=30, fusion_steps=30)
    assert light.alphas_cumprod()[light.t_start] > 0.99
    assert complete.alphas_cumprod()[complete.t_start] < 1e-5
