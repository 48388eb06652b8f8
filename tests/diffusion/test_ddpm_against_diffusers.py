"""The ancestral chain of a network that predicts noise against `diffusers`' DDPMScheduler, to 1e-6."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.diffusion.ddim import ddim_chain, ddim_pairs, ddim_step, pred_x0_of_noise
from nnunetv2_spinesegdiff.diffusion.schedules import alphas_cumprod_of

THEIR_NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
CASES = [(1000, 1000), (1000, 100), (1000, 50), (1000, 10), (1000, 7), (1000, 2), (250, 250), (30, 10)]
THEIR_NOISE = "diffusers.schedulers.scheduling_ddpm.randn_tensor"


def scheduler_of(schedule: str, length: int, steps: int) -> Any:
    from diffusers import DDPMScheduler  # which takes seconds

    scheduler: Any = DDPMScheduler(
        num_train_timesteps=length,
        beta_schedule=THEIR_NAMES[schedule],
        prediction_type="epsilon",
        variance_type="fixed_small",
        clip_sample=True,
        timestep_spacing="trailing",
    )
    # Our schedules are held in float64.
    scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
    scheduler.one = scheduler.one.double()
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize(("length", "steps"), CASES)
def test_respacing(length, steps):
    theirs = scheduler_of("linear", length, steps).timesteps.tolist()
    assert [t - 1 for t, _ in ddim_pairs(length, steps)] == theirs
    assert [t_prev - 1 for _, t_prev in ddim_pairs(length, steps)] == [*theirs[1:], -1]


@pytest.mark.parametrize("schedule", sorted(THEIR_NAMES))
@pytest.mark.parametrize(("length", "steps"), CASES)
def test_posterior_mean_and_variance(schedule, length, steps):
    scheduler, bars = scheduler_of(schedule, length, steps), alphas_cumprod_of(schedule, length)
    generator = torch.Generator().manual_seed(0)
    pairs = ddim_pairs(length, steps)
    for t, t_prev in pairs[:: max(1, steps // 20)]:
        if t_prev == 0:
            continue
        x_t, predicted = (torch.randn((2, 3, 4, 5), generator=generator) for _ in range(2))
        zeros, ones = torch.zeros_like(x_t), torch.ones_like(x_t)
        with mock.patch(THEIR_NOISE, lambda shape, **_: torch.zeros(shape)):
            expected = scheduler.step(predicted.double(), t - 1, x_t.double()).prev_sample
        x0 = pred_x0_of_noise(predicted, x_t, t, bars)
        mean = ddim_step(x_t, x0, t, t_prev, bars, 1.0, zeros)
        torch.testing.assert_close(mean.double(), expected, atol=1e-6, rtol=1e-6)
        deviation = (ddim_step(zeros, zeros, t, t_prev, bars, 1.0, ones)).double()
        variance = torch.full_like(deviation, float(scheduler._get_variance(t - 1)))
        torch.testing.assert_close(deviation**2, variance, atol=1e-6, rtol=1e-6)


@given(st.sampled_from(CASES), st.integers(0, 2**31))
@settings(max_examples=10)
def test_whole_chain(case, seed):
    """From noise to the last mask, with a model that looks at mask and step."""
    length, steps = case
    scheduler, bars = scheduler_of("linear", length, steps), alphas_cumprod_of("linear", length)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn((1, 2, 4, 4), generator=generator)
    noises = [torch.randn(start.shape, generator=generator) for _ in range(steps)]

    def model(x_t, t):
        return (x_t + 0.3 * x_t.flip(1)).tanh() + (t / length).view(-1, 1, 1, 1)

    ours_noises, their_noises = iter(noises), iter(noises)
    chain = ddim_chain(
        model,
        start,
        ddim_pairs(length, steps),
        bars,
        prediction_type="epsilon",
        eta=1.0,
        draw_noise=lambda: next(ours_noises),
    )
    ours = list(chain)
    x_t, original = start.double(), start.double()
    with mock.patch(THEIR_NOISE, side_effect=lambda *_, **__: next(their_noises).double()):
        for t in scheduler.timesteps.tolist():
            step = scheduler.step(model(x_t, torch.tensor([t + 1.0])), t, x_t)
            x_t, original = step.prev_sample, step.pred_original_sample
    assert len(ours) == steps
    # The chain feeds every difference in float32 back into the model, up to a thousand times.
    torch.testing.assert_close(ours[-1].pred_x0.double(), original, atol=2e-4, rtol=0)
