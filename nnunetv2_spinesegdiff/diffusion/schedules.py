"""Noise schedules: the share of the mask that remains at every step.

A schedule of length N is a float64 tensor `alphas_cumprod` of shape (N + 1,). Entry t is the share of the
signal's variance that remains after t steps, so entry 0 is 1 (the clean mask). The product is computed in
float64, because in float32 a thousand factors near 1 lose digits that matter for the first steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_betas(num_train_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """Betas that grow linearly (Ho et al. 2020, arXiv 2006.11239, section 4).

    Args:
        num_train_timesteps: N, the number of steps.
        beta_start: first beta.
        beta_end: last beta.

    Returns:
        Betas, shape (N,), float64, no unit.

    Examples:
        >>> linear_betas(3, 0.1, 0.3).tolist()
        [0.1, 0.2, 0.3]
    """
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)


def cosine_betas(num_train_timesteps: int, s: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """Betas whose alphas_cumprod follows a squared cosine (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 17).

    Args:
        num_train_timesteps: N, the number of steps.
        s: offset that prevents a first beta close to 0.
        max_beta: upper limit, which keeps the last steps finite.

    Returns:
        Betas, shape (N,), float64, no unit.

    Examples:
        >>> [round(beta, 3) for beta in cosine_betas(4).tolist()]
        [0.153, 0.417, 0.708, 0.999]
    """
    steps = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    f = torch.cos((steps + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=max_beta)


def cumulative_alphas(betas: Tensor) -> Tensor:
    """Cumulative products of 1 - beta.

    Args:
        betas: shape (N,), 0 to 1.

    Returns:
        alphas_cumprod, shape (N + 1,), float64. Entry 0 is 1, the clean mask.

    Examples:
        >>> cumulative_alphas(torch.tensor([0.5, 0.5])).tolist()
        [1.0, 0.5, 0.25]
    """
    kept = torch.cumprod(1 - betas.double(), dim=0)
    return torch.cat([torch.ones(1, dtype=torch.float64, device=betas.device), kept])


_BETAS = {"linear": linear_betas, "cosine": cosine_betas}
SCHEDULES = tuple(_BETAS)


def alphas_cumprod_of(schedule: str, num_train_timesteps: int) -> Tensor:
    """Compute the schedule of a name.

    Args:
        schedule: "linear" or "cosine".
        num_train_timesteps: N, at least 1.

    Returns:
        alphas_cumprod, shape (N + 1,), float64, falling from 1 toward 0.

    Raises:
        ValueError: the name is unknown, or N is below 1.

    Examples:
        >>> schedule = alphas_cumprod_of("cosine", 1000)
        >>> schedule.shape, float(schedule[0]), round(float(schedule[30]), 3)
        (torch.Size([1001]), 1.0, 0.997)
    """
    if schedule not in _BETAS:
        raise ValueError(f"unknown noise schedule {schedule!r}; known: {', '.join(sorted(_BETAS))}")
    if num_train_timesteps < 1:
        raise ValueError(f"num_train_timesteps must be at least 1, got {num_train_timesteps}")
    return cumulative_alphas(_BETAS[schedule](num_train_timesteps))
