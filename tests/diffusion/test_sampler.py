"""Fusion and uncertainty (paper eqs. 3 to 5, Algorithm 1), and the noise that belongs to an image."""

from __future__ import annotations

import itertools
import math
import weakref
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.diffusion import sampler
from nnunetv2_spinesegdiff.diffusion.batching import BatchLimit
from nnunetv2_spinesegdiff.diffusion.ddim import ddim_pairs
from nnunetv2_spinesegdiff.diffusion.fusion import class_entropy, fuse, fusion_weights, uncertainty
from nnunetv2_spinesegdiff.diffusion.masks import probabilities
from nnunetv2_spinesegdiff.diffusion.noise import CaseNoise, content_seed
from nnunetv2_spinesegdiff.diffusion.sampler import Sampled, sample
from nnunetv2_spinesegdiff.diffusion.settings import PRESETS, SamplerSettings

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


def toy_case(*, axes: int = 2, heads: int = 3, batch: int = 2, seed: int = 0, shape=(5, 4, 3)):
    rng = np.random.default_rng(seed)
    spatial = shape[:axes]
    images = torch.from_numpy(rng.normal(size=(batch, 1, *spatial))).float()
    x_pre = torch.from_numpy(np.where(rng.random((batch, heads, *spatial)) < 0.5, -1.0, 1.0)).float()
    return ToyModel.random(heads, rng), x_pre, images


def run(model, x_pre, images, s: SamplerSettings, **kwargs) -> Sampled:
    return sample(model.batch(images), x_pre, images, s, s.alphas_cumprod(), **kwargs)


@given(sampler_settings(), st.integers(2, 3), st.booleans(), st.integers(1, 12), st.integers(0, 999))
@settings(max_examples=60)
def test_sampling_is_algorithm_1(s, axes, regions, items, seed):
    model, x_pre, images = toy_case(axes=axes, seed=seed)
    sampled = run(model, x_pre, images, s, regions=regions, limit=BatchLimit(items))
    for b in range(len(images)):
        logits, heatmap = sampled_case(model, x_pre[b].double().numpy(), images[b], s, regions)
        np.testing.assert_allclose(sampled.logits[b], logits, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(sampled.uncertainty()[b], heatmap, atol=1e-5)


@given(sampler_settings(), st.booleans(), st.integers(1, 12), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_neither_the_split_into_batches_nor_the_order_of_chains_changes_anything(s, regions, items, random):
    s = replace(s, num_samples=random.randint(2, 7))
    # Pixels fill whole vector registers: torch's functions differ in the last bit in what is left over.
    model, x_pre, images = toy_case(seed=random.randint(0, 999), shape=(8, 4))

    def denoise(x_t, t):  # one by one: matrix products of other sizes differ in the last bit, too
        parts = zip(x_t, t, itertools.cycle(images))
        return torch.cat([model.batch(image[None])(x[None], step[None]) for x, step, image in parts])

    at_once = sample(denoise, x_pre, images, s, s.alphas_cumprod(), regions=regions)
    order = list(range(s.num_samples))
    random.shuffle(order)

    def shuffled_noise(images, seed, chains):
        return CaseNoise(images, seed, [order[chain] for chain in chains])

    with mock.patch.object(sampler, "CaseNoise", shuffled_noise):
        limit = BatchLimit(items)
        shuffled = sample(denoise, x_pre, images, s, s.alphas_cumprod(), regions=regions, limit=limit)
    assert torch.equal(shuffled.logits, at_once.logits)
    assert torch.equal(shuffled.uncertainty(), at_once.uncertainty())


@given(sampler_settings(), st.integers(2, 10))
@settings(max_examples=30)
def test_running_out_of_memory_half_way_costs_time_and_nothing_else(s, fitting):
    s = replace(s, num_samples=5)
    model, x_pre, images = toy_case()
    denoise, limit, tried = model.batch(images), BatchLimit(10), []
    first_step = ddim_pairs(s.t_start, s.ddim_steps)[0][0]

    def short_of_memory(x_t, t):
        tried.append(len(x_t))
        if len(x_t) > fitting and (int(t[0]) < first_step or s.ddim_steps == 1):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return denoise(x_t, t)

    little = sample(short_of_memory, x_pre, images, s, s.alphas_cumprod(), limit=limit)
    enough = run(model, x_pre, images, s)
    torch.testing.assert_close(little.logits, enough.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(little.uncertainty(), enough.uncertainty(), atol=1e-5, rtol=1e-5)
    assert limit.items == (10 if fitting == 10 else 5 if fitting >= 4 else 2)
    assert tried[-1] <= fitting


@pytest.mark.parametrize("message", ["CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory"])
def test_where_not_even_one_chain_fits_the_error_is_told(message):
    def denoise(x_t, t):
        raise RuntimeError(message)

    _, x_pre, images = toy_case()
    s = SamplerSettings(num_samples=4)
    with pytest.raises(RuntimeError, match=message[:12]):
        sample(denoise, x_pre, images, s, s.alphas_cumprod())


def test_other_errors_are_not_tried_again():
    calls = []

    def denoise(x_t, t):
        calls.append(t)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    _, x_pre, images = toy_case()
    s = SamplerSettings(num_samples=4)
    with pytest.raises(RuntimeError, match="mat1"):
        sample(denoise, x_pre, images, s, s.alphas_cumprod())
    assert len(calls) == 1


def test_memory_does_not_grow_with_the_number_of_chains():
    """The largest number of maps alive at once, counted through weak references."""
    most = {}
    for chains in (2, 12):
        alive: list[weakref.ref] = []
        seen: list = []
        s = SamplerSettings(t_start=30, ddim_steps=5, fusion_steps=5, num_samples=chains)
        model, x_pre, images = toy_case()
        denoise = model.batch(images)

        def counted(x_t, t, alive=alive, seen=seen, denoise=denoise):
            logits = denoise(x_t, t)
            alive.append(weakref.ref(logits))
            seen.append(sum(ref() is not None for ref in alive))
            return logits

        sample(counted, x_pre, images, s, s.alphas_cumprod(), limit=BatchLimit(2 * len(images)))
        most[chains] = max(seen)
    assert most[2] == most[12] <= 3


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


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"t_start": 1}, (1, 1, 1)),
        ({"ddim_steps": 1}, (20, 1, 1)),
        ({"ddim_steps": 9}, (20, 9, 4)),
        ({"t_start": 3}, (3, 3, 3)),
        ({"fusion_steps": 6}, (20, 6, 6)),
        ({}, (20, 6, 4)),
    ],
)
def test_what_is_not_stated_follows_down(stated, expected):
    s = SamplerSettings(t_start=20, ddim_steps=6, fusion_steps=4).changed(**stated)
    assert (s.t_start, s.ddim_steps, s.fusion_steps) == expected


@pytest.mark.parametrize(
    "stated", [{"ddim_steps": 21}, {"fusion_steps": 7}, {"t_start": 3, "ddim_steps": 4}, {"t_start": 0}]
)
def test_what_is_stated_is_never_corrected(stated):
    with pytest.raises(ValueError, match=list(stated)[-1]):
        SamplerSettings(t_start=20, ddim_steps=6, fusion_steps=4).changed(**stated)


@pytest.mark.parametrize(
    ("t_start", "name", "steps"), [(30, "paper", 10), (5, "paper", 5), (1, "balanced", 1)]
)
def test_presets_fit_every_depth(t_start, name, steps):
    s = PRESETS[name].applied_to(SamplerSettings(t_start=t_start, ddim_steps=1, fusion_steps=1))
    assert (s.ddim_steps, s.fusion_steps, s.num_samples) == (steps, steps, PRESETS[name].num_samples)


def test_light_noise_and_a_complete_schedule_are_both_expressible():
    light = SamplerSettings(num_train_timesteps=1000, t_start=30)
    complete = SamplerSettings(num_train_timesteps=30, t_start=30, ddim_steps=30, fusion_steps=30)
    assert light.alphas_cumprod()[light.t_start] > 0.99
    assert complete.alphas_cumprod()[complete.t_start] < 1e-5
