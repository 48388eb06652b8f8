"""What the diffusion functions promise besides their formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from nnunetv2_spinesegdiff.diffusion.ddim import ddim_pairs, ddim_step
from nnunetv2_spinesegdiff.diffusion.forward_process import q_sample
from nnunetv2_spinesegdiff.diffusion.masks import (
    encode_masks,
    hard_masks,
    one_hot_channels,
    pred_x0_of,
    probabilities,
)
from nnunetv2_spinesegdiff.diffusion.schedules import alphas_cumprod_of
from nnunetv2_spinesegdiff.diffusion.settings import SamplerSettings


def test_schedules_keep_less_at_every_step_from_the_clean_mask_to_noise():
    assert 1e-6 < alphas_cumprod_of("cosine", 30)[30] < 1e-5
    assert alphas_cumprod_of("cosine", 1000)[30] > 0.99
    for schedule in ("linear", "cosine"):
        assert (alphas_cumprod_of(schedule, 1000).diff() < 0).all()
    for schedule, length in (("quadratic", 10), ("linear", 0), ("cosine", -3)):
        with pytest.raises(ValueError, match=r"schedule|num_train_timesteps"):
            alphas_cumprod_of(schedule, length)


@pytest.mark.parametrize("length", [1, 2, 30, 100, 1000])
def test_a_complete_cosine_schedule_is_the_squared_cosine_of_its_length(length):
    """Equation 17 of Nichol & Dhariwal, in plain numbers; only its last beta reaches the clip at 0.999."""

    def kept(step: int) -> float:
        return math.cos((step / length + 0.008) / 1.008 * math.pi / 2) ** 2

    bars = SamplerSettings(num_train_timesteps=length, t_start=length, ddim_steps=1, fusion_steps=1)
    expected = [kept(step) / kept(0) for step in range(length)]
    expected.append(0.001 * expected[-1])
    assert bars.alphas_cumprod().tolist() == pytest.approx(expected, rel=1e-9)


def test_the_first_of_1000_steps_adds_next_to_no_noise():
    """The cascade without noise: masks are -1 and 1."""
    assert (1 - alphas_cumprod_of("cosine", 1000)[1]).sqrt() < 0.007


@given(st.integers(1, 1000), st.data())
def test_chain_runs_down_to_zero_in_distinct_steps(t_start, data):
    n = data.draw(st.integers(1, t_start))
    pairs = ddim_pairs(t_start, n)
    assert len(pairs) == n
    assert pairs[0][0] == t_start
    assert pairs[-1][1] == 0
    assert all(t > t_prev for t, t_prev in pairs)
    assert all(left[1] == right[0] for left, right in pairwise(pairs))
    assert max(t - p for t, p in pairs) - min(t - p for t, p in pairs) <= 1
    for steps in (t_start + 1, 0, -1):
        with pytest.raises(ValueError, match="ddim_steps"):
            ddim_pairs(t_start, steps)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_batch_item_is_noised_to_its_own_step_in_float32(autocast, dtype):
    x, noise = torch.rand(3, 2, 4, 4, 4).to(dtype), torch.randn(3, 2, 4, 4, 4)
    bars = alphas_cumprod_of("linear", 1000)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        together = q_sample(x, torch.tensor([3, 900, 0]), noise, bars)
        step = ddim_step(x.float(), x.float(), 900, 5, bars)
    assert together.dtype == step.dtype == torch.float32
    for i, t in enumerate((3, 900)):
        alone = q_sample(x[i : i + 1], torch.tensor([t]), noise[i : i + 1], bars)
        assert torch.equal(together[i : i + 1], alone)
    assert torch.equal(together[2], x[2].float())  # step zero is the clean mask
    assert torch.equal(step, ddim_step(x.float(), x.float(), 900, 5, bars))


class NoDoubles(TorchDispatchMode):
    """Fails where float64 is made on the meta device, which stands for one without float64 (MPS)."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.device.type == "meta":
            assert out.dtype != torch.float64, f"{func} makes float64 on the device"
        return out


def test_noising_puts_no_float64_on_the_device():
    x, t = torch.empty(2, 3, 4, 4, device="meta"), torch.empty(2, dtype=torch.long, device="meta")
    with NoDoubles():
        assert q_sample(x, t, x, alphas_cumprod_of("cosine", 10)).shape == x.shape


def test_stochastic_steps_need_noise():
    x, bars = torch.rand(1, 2, 4, 4), alphas_cumprod_of("cosine", 100)
    with pytest.raises(ValueError, match="noise"):
        ddim_step(x, x, 50, 20, bars, eta=0.5)
    ddim_step(x, x, 50, 0, bars, eta=0.5)  # the last step adds none


@given(st.integers(1, 6), st.integers(2, 3), st.integers(0, 2**31))
def test_label_maps_survive_coding(num_heads, axes, seed):
    labels = torch.randint(num_heads, (2, *[5] * axes), generator=torch.Generator().manual_seed(seed))
    masks = one_hot_channels(labels, num_heads)
    assert masks.shape == (2, num_heads, *[5] * axes)
    assert (masks.sum(1) == 1).all()
    coded = encode_masks(masks)
    assert set(coded.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(coded.argmax(1), labels)


@pytest.mark.parametrize("regions", [False, True])
def test_hard_masks_are_what_the_probabilities_say(regions):
    logits = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    p, masks = probabilities(logits, regions), hard_masks(logits, regions)
    if regions:
        assert torch.equal(masks, (p > 0.5).float())
        assert not torch.allclose(p.sum(1), torch.ones(2, 6, 6))
    else:
        torch.testing.assert_close(p.sum(1), torch.ones(2, 6, 6))
        assert torch.equal(masks, (p == p.amax(1, keepdim=True)).float())


@given(st.integers(0, 2**31), st.booleans(), st.floats(0.1, 1000))
def test_clean_masks_stay_in_range(seed, regions, scale):
    logits = scale * torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    x0 = pred_x0_of(logits.half() if scale < 100 else logits, regions)
    assert x0.dtype == torch.float32
    assert x0.abs().max() <= 1 + 1e-6
    # Logits of +-12 mean certainty. Clamped into [-1, 1] they would give 0.76 at best.
    certain = pred_x0_of(torch.tensor([12.0, -12.0]).view(1, 2, 1, 1), regions).flatten()
    assert certain[0] > 0.999
    assert certain[1] < -0.999
