"""Algorithm 1: S short chains from a presegmentation, averaged a step and fused over the last steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .batching import BatchLimit
from .ddim import Denoiser, ddim_chain, ddim_pairs
from .forward_process import q_sample
from .fusion import fuse, uncertainty
from .noise import CaseNoise
from .settings import SamplerSettings


@dataclass(frozen=True)
class Sampled:
    """What the chains say.

    Attributes:
        step_logits: the mean logits over the chains of each of the last T_s steps, noisiest step first:
            T_s tensors (B, K, *spatial), float32.
        regions: sigmoid heads instead of softmax.
    """

    step_logits: list[Tensor]
    regions: bool

    @property
    def logits(self) -> Tensor:
        """Fused logits (B, K, *spatial), float32 (paper eq. 3)."""
        return fuse(self.step_logits)

    def uncertainty(self, temperatures: Tensor | None = None) -> Tensor:
        """The heatmap a class (B, K, *spatial), float32, in [0, 1/e] nats (paper eqs. 4 and 5).

        `temperatures` (K,) calibrate the probabilities; see `masks.probabilities`.
        """
        return uncertainty(self.step_logits, self.regions, temperatures)

    def of_steps(self, change: Callable[[Tensor], Tensor]) -> Sampled:
        """The same with every step's logits changed: cropped, or turned back."""
        return Sampled([change(logits) for logits in self.step_logits], self.regions)


def sample(
    denoise: Denoiser,
    x_pre: Tensor,
    images: Tensor,
    settings: SamplerSettings,
    alphas_cumprod: Tensor,
    *,
    regions: bool = False,
    limit: BatchLimit | None = None,
) -> Sampled:
    """Noise a presegmentation to t_start and bring it back (paper Algorithm 1, eqs. 3 to 5).

    Only the sums of the last T_s steps are kept, never the S x n maps of the chains. Neither the order of the
    chains nor the way in which they are split into batches changes the sums.

    Args:
        denoise: the model over a batch of (chains x B), chain by chain; see `Denoiser`.
        x_pre: the presegmentation in [-1, 1], (B, K, *spatial).
        images: the network input (B, C, *spatial) from which the noise is seeded.
        limit: how many of the S x B network inputs run side by side; all of them where None.
    """
    pairs = ddim_pairs(settings.t_start, settings.ddim_steps)
    first_fused = len(pairs) - settings.fusion_steps
    sums: list[Tensor] = []

    def add_chains(chains: Sequence[int]) -> None:
        noise = CaseNoise(images, settings.seed, chains)
        x_start = x_pre.repeat(len(chains), *[1] * (x_pre.ndim - 1))
        t = torch.full((x_start.shape[0],), settings.t_start, device=x_start.device, dtype=torch.long)
        draw_noise = partial(noise.draw, tuple(x_pre.shape[1:]))
        x_t = q_sample(x_start, t, draw_noise(), alphas_cumprod)
        steps = ddim_chain(
            denoise, x_t, pairs, alphas_cumprod, regions=regions, eta=settings.eta, draw_noise=draw_noise
        )
        added = [_sum_over_chains(s, x_pre.shape) for i, s in enumerate(steps) if i >= first_fused]
        # Only now, with nothing left that could run out of memory half way.
        sums[:] = [a + b for a, b in zip(sums, added, strict=True)] if sums else added

    limit = limit or BatchLimit(settings.num_samples * len(images))
    limit.run(add_chains, range(settings.num_samples), len(images))
    return Sampled([(total / settings.num_samples).float() for total in sums], regions)


def _sum_over_chains(logits: Tensor, shape: torch.Size) -> Tensor:
    """Logits (S * B, K, *spatial), chain by chain, summed to (B, K, *spatial).

    In float64, where the order of the summands does not show in a float32 result; MPS has none.
    """
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    return logits.view(-1, *shape).sum(0, dtype=exact)
