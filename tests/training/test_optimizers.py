"""Two stages, two optimisers: each with its own clipping, schedule and state; warm-up and cosine decay."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch import nn

from nnunetv2_spinesegdiff.training.optimizers import Stage, StageOptimizers, StageSchedules, WarmUpAndCosine


def made(
    lr: float = 1.0, clip: tuple[float, float] = (1.0, 12.0)
) -> tuple[StageOptimizers, list[nn.Parameter]]:
    weights = [nn.Parameter(torch.zeros(4)) for _ in range(2)]
    stages = {}
    for name, weight, norm, rate in zip(("refiner", "stage1"), weights, clip, (lr, 10 * lr), strict=True):
        sgd = torch.optim.SGD([weight], rate, momentum=0.9)
        stages[name] = Stage(sgd, PolyLRScheduler(sgd, rate, 10), norm)
    return StageOptimizers(stages), weights


def test_every_stage_is_clipped_by_its_own_norm():
    """Clipped together, the large gradient of one stage would shrink the other's."""
    optimizers, (refiner, stage1) = made(lr=1.0)
    refiner.grad, stage1.grad = torch.full((4,), 0.25), torch.full((4,), 500.0)
    optimizers.step()
    torch.testing.assert_close(refiner.detach(), torch.full((4,), -0.25))  # norm 0.5: left as it is
    torch.testing.assert_close(
        stage1.detach(), torch.full((4,), -10 * 6.0), rtol=1e-4, atol=0
    )  # norm 1000 -> 12


def test_stages_have_their_own_schedules_and_cleared_gradients():
    optimizers, weights = made(lr=1.0)
    schedules = StageSchedules(optimizers)
    schedules.step(0)
    assert optimizers.param_groups[0]["lr"] == 1.0
    schedules.step(5)
    rates = [stage.optimizer.param_groups[0]["lr"] for stage in optimizers.stages.values()]
    assert rates == pytest.approx([0.5**0.9, 10 * 0.5**0.9])
    assert optimizers.param_groups[0]["lr"] == rates[0]
    for weight in weights:
        weight.grad = torch.ones(4)
    optimizers.zero_grad()
    assert all(weight.grad is None for weight in weights)


def test_states_come_back(tmp_path):
    first, weights = made()
    for weight in weights:
        weight.grad = torch.arange(4.0)
    first.step()
    torch.save(first.state_dict(), tmp_path / "state.pth")
    second, others = made()
    second.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    for mine, theirs, weight in zip(first.stages.values(), second.stages.values(), weights, strict=True):
        momentum = theirs.optimizer.state_dict()["state"][0]["momentum_buffer"]
        assert torch.equal(mine.optimizer.state[weight]["momentum_buffer"], momentum)
    for pair in (weights, others):
        for weight in pair:
            weight.data.zero_()
            weight.grad = torch.ones(4)
    first.step()
    second.step()
    for weight, other in zip(weights, others, strict=True):
        assert torch.equal(weight, other)


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 100, 2500])
def test_warm_up_grows_evenly_and_the_cosine_falls_to_nearly_nothing(epochs):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], 5.0)
    schedule = WarmUpAndCosine(optimizer, 1e-3, epochs)
    rates = [optimizer.param_groups[0]["lr"]]
    for epoch in range(1, epochs):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    warm = epochs // 10
    assert all(rate > 0 for rate in rates)
    assert rates[warm] == max(rates) == pytest.approx(1e-3)
    for epoch in range(warm):
        assert rates[epoch] == pytest.approx(1e-3 * (epoch + 1) / (warm + 1))
    assert all(a > b for a, b in zip(rates[warm:], rates[warm + 1 :], strict=False))
    middle = warm + (epochs - warm) // 2
    if (epochs - warm) % 2 == 0:
        assert rates[middle] == pytest.approx(5e-4)
