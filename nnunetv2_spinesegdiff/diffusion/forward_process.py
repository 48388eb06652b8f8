"""The forward process: add noise to a clean mask."""

from __future__ import annotations

from torch import Tensor

from .compiling import not_compiled


def append_dims(values: Tensor, like: Tensor) -> Tensor:
    """View `values` of shape (B,) as (B, 1, ..., 1) with as many dimensions as `like`.

    Raises:
        ValueError: the first dimensions differ.
    """
    if values.ndim != 1 or values.shape[0] != like.shape[0]:
        raise ValueError(
            f"one value per batch item is needed: got {tuple(values.shape)} for {tuple(like.shape)}"
        )
    return values.view(-1, *[1] * (like.ndim - 1))


def roots(t: Tensor, alphas_cumprod: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t) of steps t (B,), float32, as factors of `like` (B, ...)."""
    # The roots are taken in float64 where the schedule lies: not every device has float64.
    signal, spread = (
        append_dims(root.float().to(like.device)[t], like)
        for root in (alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt())
    )
    return signal, spread


def q_sample(x_start: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Add noise to a mask: x_t = sqrt(alpha_bar_t) * x_start + sqrt(1 - alpha_bar_t) * noise (paper eq. 1).

    Args:
        x_start: mask as K channels in [-1, 1], shape (B, K, *spatial).
        t: step of each batch item, 0 to N, integer tensor of shape (B,). Step 0 returns `x_start`.
        noise: standard normal, shape of `x_start`.
        alphas_cumprod: shape (N + 1,), see `schedules`.

    Returns:
        x_t, shape of `x_start`, float32, also under autocast.

    Raises:
        ValueError: `t` does not have one value per batch item.

    Examples:
        >>> import torch
        >>> mask = torch.ones(2, 1, 4, 4)
        >>> x_t = q_sample(mask, torch.tensor([0, 2]), torch.zeros_like(mask), torch.tensor([1, 0.5, 0.25]))
        >>> x_t[:, 0, 0, 0].tolist()
        [1.0, 0.5]
    """
    signal, spread = roots(t, alphas_cumprod, x_start)
    return signal * x_start.float() + spread * noise.float()


@not_compiled  # a lookup in a schedule in float64 on the CPU, for a product and a sum
def noise_in(x_t: Tensor, velocity: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The noise in x_t where `velocity` is v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_start.

    Salimans & Ho 2022 (arXiv 2202.00512), appendix D. Shapes (B, K, *spatial), t (B,); float32.
    """
    signal, spread = roots(t, alphas_cumprod, x_t)
    return spread * x_t.float() + signal * velocity.float()
