"""Schedules, noising and DDIM steps against the `diffusers` package, to 1e-6.

diffusers counts steps from 0 and works in float32 where we count from 1 and hold float64, so its betas are
taken and their product is formed in float64; the rest of its code is used as it is.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.diffusion.ddim import ddim_chain, ddim_pairs, ddim_step
from nnunetv2_spinesegdiff.diffusion.forward_process import q_sample
from nnunetv2_spinesegdiff.diffusion.masks import pred_x0_of
from nnunetv2_spinesegdiff.diffusion.schedules import alphas_cumprod_of

DDPM, DDIM = "DDPMScheduler", "DDIMScheduler"
THEIR_NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
SCHEDULES = st.sampled_from(sorted(THEIR_NAMES))
LENGTHS = st.integers(2, 1000)


def scheduler_of(kind: str, schedule: str, length: int):
    import diffusers  # which takes seconds

    ddim = {"set_alpha_to_one": True} if kind == DDIM else {}
    scheduler = getattr(diffusers, kind)(
        num_train_timesteps=length,
        beta_schedule=THEIR_NAMES[schedule],
        prediction_type="sample",
        clip_sample=False,
        **ddim,
    )
    scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
    return scheduler


def their_step(scheduler, x0, t, t_prev, x_t, eta, noise):
    # diffusers finds t_prev by a floor division; this makes it exactly ours.
    scheduler.num_inference_steps = Fraction(scheduler.config.num_train_timesteps, t - t_prev)
    step = scheduler.step(x0, t - 1, x_t, eta=eta, variance_noise=noise if eta > 0 else None)
    return step.prev_sample


@pytest.mark.parametrize("kind", [DDPM, DDIM])
@pytest.mark.parametrize("schedule", sorted(THEIR_NAMES))
@pytest.mark.parametrize("length", [1, 2, 7, 30, 100, 999, 1000, 4000])
def test_schedule(kind, schedule, length):
    ours = alphas_cumprod_of(schedule, length)
    theirs = scheduler_of(kind, schedule, length)
    assert ours.dtype == torch.float64
    assert ours.shape == (length + 1,)
    assert ours[0] == 1
    torch.testing.assert_close(ours[1:], theirs.alphas_cumprod, atol=1e-6, rtol=0)
    torch.testing.assert_close(1 - ours[1:] / ours[:-1], theirs.betas.double(), atol=1e-6, rtol=0)


@given(SCHEDULES, LENGTHS, st.integers(0, 2**31), st.integers(2, 3), st.data())
@settings(max_examples=60)
def test_noising(schedule, length, seed, axes, data):
    t = torch.tensor(data.draw(st.lists(st.integers(1, length), min_size=1, max_size=4)))
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand((len(t), 3, *[4] * axes), generator=generator) * 2 - 1
    noise = torch.randn(x0.shape, generator=generator)
    theirs = scheduler_of(DDPM, schedule, length).add_noise(x0.double(), noise.double(), t - 1)
    ours = q_sample(x0, t, noise, alphas_cumprod_of(schedule, length))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=0)


@given(SCHEDULES, LENGTHS, st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 1.0]), st.data())
@settings(max_examples=60)
def test_one_step(schedule, length, seed, eta, data):
    t = data.draw(st.integers(1, length))
    t_prev = data.draw(st.integers(0, t - 1))
    generator = torch.Generator().manual_seed(seed)
    x_t, x0, noise = (torch.randn((2, 3, 4, 5), generator=generator) for _ in range(3))
    x0 = x0.tanh()
    theirs = their_step(
        scheduler_of(DDIM, schedule, length), x0.double(), t, t_prev, x_t.double(), eta, noise
    )
    ours = ddim_step(x_t, x0, t, t_prev, alphas_cumprod_of(schedule, length), eta, noise)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=1e-6)


@given(SCHEDULES, LENGTHS, st.integers(0, 2**31), st.sampled_from([0.0, 1.0]), st.booleans(), st.data())
@settings(max_examples=40)
def test_whole_chain(schedule, length, seed, eta, regions, data):
    """From a presegmentation at a random depth to the last logits, with a model that mixes the channels."""
    t_start = data.draw(st.integers(1, length))
    pairs = ddim_pairs(t_start, data.draw(st.integers(1, min(t_start, 12))))
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn((2, 3, 4, 5), generator=generator)
    noises = [torch.randn(start.shape, generator=generator) for _ in pairs]
    mix = torch.randn((3, 3), generator=generator)

    def model(x_t, t):
        return torch.einsum("ij,bjhw->bihw", mix.to(x_t.dtype), x_t.tanh()) + (t / length).view(-1, 1, 1, 1)

    remaining = iter(noises)
    bars = alphas_cumprod_of(schedule, length)
    chain = ddim_chain(
        model, start, pairs, bars, regions=regions, eta=eta, draw_noise=lambda: next(remaining)
    )
    ours = [step.model_output for step in chain]

    scheduler = scheduler_of(DDIM, schedule, length)
    x_t = start.double()
    for (t, t_prev), noise, logits in zip(pairs, noises, ours, strict=True):
        expected = model(x_t, torch.full((2,), t, dtype=torch.float64))
        torch.testing.assert_close(logits.double(), expected, atol=2e-5, rtol=1e-5)
        x0 = pred_x0_of(expected.float(), regions).double()
        x_t = their_step(scheduler, x0, t, t_prev, x_t, eta, noise)
