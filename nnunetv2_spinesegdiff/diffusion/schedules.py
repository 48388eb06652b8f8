"""Noise schedules: how much of a mask is left at every step.

A schedule of length N is one tensor `alphas_cumprod` of shape (N + 1,), float64: entry t is the signal
that is left after t steps, so entry 0 is 1 (the clean mask) and t runs from 1 to N. Computed in float64
and cast where it is used: in float32 the product of a thousand factors near 1 loses digits that matter
for the first, small steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_betas(num_train_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """Betas that grow linearly (Ho et al. 2020, arXiv 2006.11239, section 4).

    Returns a float64 tensor of shape (N,).
    """
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)


def cosine_betas(num_train_timesteps: int, s: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """Betas whose alphas_cumprod follows a squared cosine (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 17).

    `s` keeps the first betas from vanishing; betas are clipped at `max_beta`, as in the paper, so that the
    last steps stay finite. Returns a float64 tensor of shape (N,).
    """
    steps = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    f = torch.cos((steps + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=max_beta)


def cumulative_alphas(betas: Tensor) -> Tensor:
    """alphas_cumprod of shape (N + 1,), float64, with the clean mask (1.0) as entry 0."""
    kept = torch.cumprod(1 - betas.double(), dim=0)
    return torch.cat([torch.ones(1, dtype=torch.float64, device=betas.device), kept])


_BETAS = {"linear": linear_betas, "cosine": cosine_betas}
SCHEDULES = tuple(_BETAS)


def alphas_cumprod_of(schedule: str, num_train_timesteps: int) -> Tensor:
    """alphas_cumprod, shape (N + 1,), float64, of the schedule named "linear" or "cosine".

    Raises ValueError for another name or a length below 1.
    """
    if schedule not in _BETAS:
        raise ValueError(f"unknown noise schedule {schedule!r}; known: {', '.join(sorted(_BETAS))}")
    if num_train_timesteps < 1:
        raise ValueError(f"num_train_timesteps must be at least 1, got {num_train_timesteps}")
    return cumulative_alphas(_BETAS[schedule](num_train_timesteps))
