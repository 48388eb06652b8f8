"""The reverse process: a DDIM chain (Song et al. 2020, arXiv 2010.02502); with eta = 1 it is DDPM's."""

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
        model_output: of the network, (B, K, *spatial), float32.
        pred_x0: the clean mask that follows from it, of the same shape, in [-1, 1], float32.
    """

    model_output: Tensor
    pred_x0: Tensor


@not_compiled  # up to a thousand pairs of numbers, and nothing for a network
def ddim_pairs(t_start: int, ddim_steps: int) -> list[tuple[int, int]]:
    """The steps of a chain as explicit pairs (t, t_prev): the first starts at `t_start`, the last ends at 0.

    Raises ValueError where `ddim_steps` distinct steps do not fit into 1..t_start.
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
    """One step from t to t_prev (arXiv 2010.02502, eq. 12 with the sigma of eq. 16), in float32.

    Args:
        x_t, pred_x0: shape (B, K, *spatial), pred_x0 in [-1, 1].
        eta: 0 is deterministic DDIM, 1 has the variance of DDPM; above 0 it needs `noise`.

    Raises:
        ValueError: eta above 0 without noise.
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
    """x_0 = (x_t - sqrt(1 - alpha_bar_t) noise) / sqrt(alpha_bar_t), clipped into [-1, 1], float32.

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
    """Run the chain and yield the result of every step, noisiest first.

    Args:
        denoise: the model, see `Denoiser`.
        x_t: the state at the first t of `pairs`, shape (B, K, *spatial).
        pairs: see `ddim_pairs`.
        regions: sigmoid heads instead of softmax, where the model predicts logits.
        prediction_type: one of `PREDICTION_TYPES`.
        draw_noise: called once a step where eta is above 0; gives noise of the shape of `x_t`.

    Yields:
        One `StepOutput` a step; the last one is the chain's prediction.
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
