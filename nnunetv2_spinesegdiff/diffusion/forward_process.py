"""The forward process: a clean mask to its noised version at step t."""

from __future__ import annotations

from torch import Tensor

from .compiling import not_compiled


def append_dims(values: Tensor, like: Tensor) -> Tensor:
    """View `values` of shape (B,) as (B, 1, ..., 1) with as many dimensions as `like`.

    Raises ValueError, naming both shapes, where the first dimensions disagree.
    """
    if values.ndim != 1 or values.shape[0] != like.shape[0]:
        raise ValueError(
            f"one value a batch item is needed: got {tuple(values.shape)} for {tuple(like.shape)}"
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
    """x_t = sqrt(alpha_bar_t) * x_start + sqrt(1 - alpha_bar_t) * noise (paper eq. 1).

    Args:
        x_start: mask as K channels in [-1, 1], shape (B, K, *spatial).
        t: steps in 0..N, integer tensor of shape (B,); 0 returns `x_start`.
        noise: standard normal, shape of `x_start`.
        alphas_cumprod: shape (N + 1,), see `schedules`.

    Returns:
        x_t in float32; autocast around it changes nothing, it leaves sums and products alone.
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
