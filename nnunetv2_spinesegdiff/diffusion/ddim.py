"""The reverse process: a DDIM chain (Song et al. 2020, arXiv 2010.02502); with eta = 1 it is DDPM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .compiling import not_compiled
from .masks import pred_x0_of

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t of shape (B, K, *spatial), t of shape (B,)) -> model output (B, K, *spatial)."""

PREDICTION_TYPES = ("sample", "epsilon")
"""What the network predicts, as diffusers names it: logits of the clean mask x_0, or the noise."""


class StepOutput(NamedTuple):
    """The result of one step of a chain.

    Attributes:
        model_output: output of the network, (B, K, *spatial), float32.
        pred_x0: clean mask computed from it, same shape, in [-1, 1], float32.
    """

    model_output: Tensor
    pred_x0: Tensor


@not_compiled  # up to a thousand pairs of numbers, and nothing for a network
def ddim_pairs(t_start: int, ddim_steps: int) -> list[tuple[int, int]]:
    """List the steps of a chain.

    Args:
        t_start: step at which the chain starts.
        ddim_steps: number of steps, 1 to `t_start`.

    Returns:
        Pairs (t, t_prev). The first one starts at `t_start`, the last one ends at 0.

    Raises:
        ValueError: `ddim_steps` is not in 1..t_start.

    Examples:
        >>> ddim_pairs(30, 3)
        [(30, 20), (20, 10), (10, 0)]
    """
    if not 1 <= ddim_steps <= t_start:
        raise ValueError(f"ddim_steps must be in 1..t_start, got {ddim_steps} steps for t_start = {t_start}")
    bounds = [round(t_start * (ddim_steps - i) / ddim_steps) for i in range(ddim_steps + 1)]
    return list(pairwise(bounds))


@not_compiled  # a handful of sums whose weights are Python numbers, others at every step
def ddim_step(
    x_t: Tensor,
    pred_x0: Tensor,
    t: int,
    t_prev: int,
    alphas_cumprod: Tensor,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """Compute one step from t to t_prev (arXiv 2010.02502, eq. 12 with the sigma of eq. 16).

    Args:
        x_t: noised mask at step t, shape (B, K, *spatial).
        pred_x0: predicted clean mask in [-1, 1], shape of `x_t`.
        t: step of `x_t`, 1 to N.
        t_prev: next, less noisy step, 0 to t - 1.
        alphas_cumprod: shape (N + 1,), see `schedules`.
        eta: stochasticity. 0 is deterministic DDIM, 1 has the variance of DDPM.
        noise: standard normal, shape of `x_t`; needed if `eta` is above 0.

    Returns:
        Noised mask at step t_prev, shape of `x_t`, float32.

    Raises:
        ValueError: `eta` is above 0 and `noise` is missing.

    Examples:
        >>> import torch
        >>> x_t, mask = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
        >>> bool((ddim_step(x_t, mask, 2, 0, torch.tensor([1, 0.5, 0.25])) == mask).all())
        True
    """
    kept, kept_prev = (float(alphas_cumprod[i]) for i in (t, t_prev))
    variance = eta**2 * (1 - kept_prev) / (1 - kept) * (1 - kept / kept_prev)
    epsilon = (x_t.float() - kept**0.5 * pred_x0.float()) / (1 - kept) ** 0.5
    x_prev = kept_prev**0.5 * pred_x0.float() + max(1 - kept_prev - variance, 0.0) ** 0.5 * epsilon
    if variance > 0:
        if noise is None:
            raise ValueError("eta above 0 needs noise for every step")
        x_prev = x_prev + variance**0.5 * noise.float()
    return x_prev


def pred_x0_of_noise(noise: Tensor, x_t: Tensor, t: int, alphas_cumprod: Tensor) -> Tensor:
    """Compute x_0 = (x_t - sqrt(1 - alpha_bar_t) noise) / sqrt(alpha_bar_t), clipped to [-1, 1], float32.

    DDPM (Ho et al. 2020, arXiv 2006.11239), eq. 15. Shapes (B, K, *spatial).
    """
    kept = float(alphas_cumprod[t])
    return ((x_t.float() - (1 - kept) ** 0.5 * noise.float()) / kept**0.5).clamp(-1, 1)


def ddim_chain(
    denoise: Denoiser,
    x_t: Tensor,
    pairs: list[tuple[int, int]],
    alphas_cumprod: Tensor,
    *,
    regions: bool = False,
    prediction_type: str = "sample",
    eta: float = 0.0,
    draw_noise: Callable[[], Tensor] | None = None,
) -> Iterator[StepOutput]:
    """Run a chain and yield the result of every step, the noisiest step first.

    Args:
        denoise: the model, see `Denoiser`.
        x_t: noised mask at the first t of `pairs`, shape (B, K, *spatial).
        pairs: see `ddim_pairs`.
        alphas_cumprod: shape (N + 1,), see `schedules`.
        regions: the model's logits are of sigmoid heads, not of a softmax.
        prediction_type: one of `PREDICTION_TYPES`.
        eta: stochasticity, see `ddim_step`.
        draw_noise: returns standard normal noise, shape of `x_t`; called once per step if `eta` is above 0.

    Yields:
        One `StepOutput` per step. The last one is the prediction of the chain.
    """
    for t, t_prev in pairs:
        steps = torch.full((x_t.shape[0],), t, device=x_t.device, dtype=torch.long)
        output = denoise(x_t, steps).float()
        if prediction_type == "epsilon":
            pred_x0 = pred_x0_of_noise(output, x_t, t, alphas_cumprod)
        else:
            pred_x0 = pred_x0_of(output, regions)
        yield StepOutput(output, pred_x0)
        if t_prev > 0:
            noise = draw_noise() if eta > 0 and draw_noise is not None else None
            x_t = ddim_step(x_t, pred_x0, t, t_prev, alphas_cumprod, eta, noise)
