"""Algorithm 1: chains, batches and memory, against plain loops."""

from __future__ import annotations

import itertools
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
from nnunetv2_spinesegdiff.diffusion.noise import CaseNoise
from nnunetv2_spinesegdiff.diffusion.sampler import Sampled, sample
from nnunetv2_spinesegdiff.diffusion.settings import SamplerSettings

from ..helpers.model_algorithm1 import ToyModel, sampled_case


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


@pytest.mark.parametrize(
    ("message", "tries"),
    [
        ("CUDA out of memory.", 3),
        ("DefaultCPUAllocator: can't allocate memory", 3),
        ("mat1 and mat2 shapes cannot be multiplied", 1),
    ],
)
def test_other_errors_are_not_tried_again_nor_what_does_not_fit_alone(message, tries):
    calls = []

    def denoise(x_t, t):
        calls.append(len(x_t))
        raise RuntimeError(message)

    _, x_pre, images = toy_case()
    s = SamplerSettings(num_samples=4)
    with pytest.raises(RuntimeError, match=message[:12]):
        sample(denoise, x_pre, images, s, s.alphas_cumprod())
    assert len(calls) == tries


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


def test_seed_and_eta_matter_and_repeating_and_neighbours_do_not():
    base = SamplerSettings(ddim_steps=3, fusion_steps=2, t_start=500)
    model, x_pre, images = toy_case(batch=4)
    together = run(model, x_pre, images, replace(base, num_samples=3, eta=1.0)).logits
    backwards = run(model, x_pre.flip(0), images.flip(0), replace(base, num_samples=3, eta=1.0)).logits
    torch.testing.assert_close(together, backwards.flip(0), atol=1e-6, rtol=1e-6)
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
