"""One optimizer for each stage behind the names that nnU-Net's trainer uses of one.

nnU-Net's PolyLR writes one rate into every parameter group, and its gradient clipping is over all parameters:
two stages that learn at different rates need two optimizers, each with its own schedule and its own clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Any

import torch
from torch.optim import Optimizer


@dataclass
class Stage:
    """The optimizer of a stage, its schedule (`step(epoch)`) and the norm its gradients are clipped to."""

    optimizer: Optimizer
    lr_scheduler: Any
    max_grad_norm: float

    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


class StageOptimizers:
    """The stages' optimizers as one: `zero_grad`, `step`, `state_dict`, `load_state_dict`, `param_groups`."""

    def __init__(self, stages: dict[str, Stage]):
        """Args: stages: name to stage; `param_groups` shows those of the first."""
        self.stages = stages

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return next(iter(self.stages.values())).optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        for stage in self.stages.values():
            stage.optimizer.zero_grad(set_to_none=set_to_none)

    def step(self, grad_scaler: torch.amp.GradScaler | None = None) -> None:
        """Clip and step every stage on its own; with a scaler, unscale first, update it once at the end."""
        for stage in self.stages.values():
            if grad_scaler is not None:
                grad_scaler.unscale_(stage.optimizer)
            torch.nn.utils.clip_grad_norm_(stage.parameters(), stage.max_grad_norm)
            if grad_scaler is not None:
                grad_scaler.step(stage.optimizer)
            else:
                stage.optimizer.step()
        if grad_scaler is not None:
            grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return {name: stage.optimizer.state_dict() for name, stage in self.stages.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises KeyError where the checkpoint's stages are not these."""
        if set(state) != set(self.stages):
            raise KeyError(f"the checkpoint trains {sorted(state)}, this training {sorted(self.stages)}")
        for name, stage in self.stages.items():
            stage.optimizer.load_state_dict(state[name])


class StageSchedules:
    """The stages' learning-rate schedules as one, stepped by epoch as nnU-Net does."""

    def __init__(self, optimizers: StageOptimizers):
        self.optimizers = optimizers

    def step(self, epoch: int) -> None:
        for stage in self.optimizers.stages.values():
            stage.lr_scheduler.step(epoch)


class WarmUpAndCosine:
    """A tenth of the epochs of linear warm-up, then half a cosine towards 0, as in Diff-UNet's code."""

    def __init__(self, optimizer: Optimizer, lr: float, num_epochs: int):
        self.optimizer, self.lr = optimizer, lr
        self.num_epochs, self.warm_up = num_epochs, num_epochs // 10
        self.step(0)

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch 0..num_epochs - 1, above 0."""
        if epoch < self.warm_up:
            return self.lr * (epoch + 1) / (self.warm_up + 1)
        done = (epoch - self.warm_up) / max(1, self.num_epochs - self.warm_up)
        return self.lr * (1 + cos(pi * done)) / 2

    def step(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(epoch)
