"""Algorithm 1: S short chains from a presegmentation, averaged a step and fused over the last steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .ddim import Denoiser, ddim_chain, ddim_pairs
from .forward_process import q_sample
from .fusion import fuse, uncertainty
from .noise import CaseNoise
from .schedules import SCHEDULES, alphas_cumprod_of


@dataclass(frozen=True)
class SamplerSettings:
    """How a segmentation is sampled.

    Attributes:
        schedule: "cosine" (from a presegmentation) or "linear" (from noise).
        num_train_timesteps: N, the length of the schedule.
        t_start: T in 1..N, the depth to which the presegmentation is noised. T = 30 of N = 1000 is a light
            noise; a complete 30-step schedule is N = 30, T = 30.
        ddim_steps: n in 1..T, network evaluations a chain.
        num_samples: S >= 1, chains.
        fusion_steps: T_s in 1..n, how many of the last steps are fused.
        eta: stochasticity of DDIM in [0, 1].
        seed: the user's seed of the noise.

    Raises:
        ValueError: one of the bounds above does not hold; the message says which.
    """

    schedule: str = "cosine"
    num_train_timesteps: int = 1000
    t_start: int = 30
    ddim_steps: int = 2
    num_samples: int = 1
    fusion_steps: int = 2
    eta: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = [
            (self.schedule in SCHEDULES, "schedule", " | ".join(SCHEDULES)),
            (1 <= self.t_start <= self.num_train_timesteps, "t_start", f"1..{self.num_train_timesteps}"),
            (1 <= self.ddim_steps <= self.t_start, "ddim_steps", f"1..t_start = 1..{self.t_start}"),
            (
                1 <= self.fusion_steps <= self.ddim_steps,
                "fusion_steps",
                f"1..ddim_steps = 1..{self.ddim_steps}",
            ),
            (self.num_samples >= 1, "num_samples", "1, 2, ..."),
            (0 <= self.eta <= 1, "eta", "[0, 1]"),
        ]
        for holds, name, allowed in bounds:
            if not holds:
                raise ValueError(f"{name} = {getattr(self, name)} is outside {allowed}")

    def alphas_cumprod(self) -> Tensor:
        """The schedule, shape (N + 1,), float64."""
        return alphas_cumprod_of(self.schedule, self.num_train_timesteps)


@dataclass(frozen=True)
class Sampled:
    """What the chains say.

    Attributes:
        logits: fused logits (B, K, *spatial), float32.
        uncertainty: the heatmap a class (B, K, *spatial), float32, in [0, 1/e] nats.
    """

    logits: Tensor
    uncertainty: Tensor


def sample(
    denoise: Denoiser,
    x_pre: Tensor,
    images: Tensor,
    settings: SamplerSettings,
    alphas_cumprod: Tensor,
    *,
    regions: bool = False,
    chains_per_batch: int | None = None,
) -> Sampled:
    """Noise a presegmentation to t_start and bring it back (paper Algorithm 1, eqs. 3 to 5).

    Only the sums of the last T_s steps are kept, never the S x n maps of the chains.

    Args:
        denoise: the model over a batch of (chains x B), chain by chain; see `Denoiser`.
        x_pre: the presegmentation in [-1, 1], (B, K, *spatial).
        images: the network input (B, C, *spatial) from which the noise is seeded.
        chains_per_batch: how many chains run side by side; all of them where None.
    """
    pairs = ddim_pairs(settings.t_start, settings.ddim_steps)
    first_fused = len(pairs) - settings.fusion_steps
    chunk = chains_per_batch or settings.num_samples
    sums: list[Tensor] = []
    for start in range(0, settings.num_samples, chunk):
        chains = range(start, min(start + chunk, settings.num_samples))
        noise = CaseNoise(images, settings.seed, chains)
        x_start = x_pre.repeat(len(chains), *[1] * (x_pre.ndim - 1))
        t = torch.full((x_start.shape[0],), settings.t_start, device=x_start.device, dtype=torch.long)
        draw_noise = partial(noise.draw, tuple(x_pre.shape[1:]))
        x_t = q_sample(x_start, t, draw_noise(), alphas_cumprod)
        steps = ddim_chain(
            denoise, x_t, pairs, alphas_cumprod, regions=regions, eta=settings.eta, draw_noise=draw_noise
        )
        for i, logits in enumerate(steps):
            if i < first_fused:
                continue
            over_chains = logits.view(len(chains), *x_pre.shape).sum(0)
            if start == 0:
                sums.append(over_chains)
            else:
                sums[i - first_fused] += over_chains
    means = [total / settings.num_samples for total in sums]
    return Sampled(fuse(means), uncertainty(means, regions))
