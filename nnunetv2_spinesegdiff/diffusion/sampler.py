"""Algorithm 1: S chains from a presegmentation or from noise, averaged a step, their last steps fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .batching import BatchLimit
from .ddim import Denoiser, ddim_chain, ddim_pairs
from .forward_process import q_sample
from .fusion import FUSIONS, Fusion
from .noise import CaseNoise
from .settings import SamplerSettings


@dataclass(frozen=True)
class Sampled:
    """What the chains say.

    Attributes:
        means: means over the chains of what the fusion keeps of the last T_s steps, noisiest step first:
            tensors (B, K, *spatial), float32. Of `Exponential`, the logits of each.
        regions: sigmoid heads instead of softmax.
        fusion: how they become one segmentation.
    """

    means: list[Tensor]
    regions: bool
    fusion: Fusion = FUSIONS["exponential"]

    @property
    def logits(self) -> Tensor:
        """Fused logits (B, K, *spatial), float32 (paper eq. 3)."""
        return self.fusion.logits(self.means, self.regions)

    def uncertainty(self, temperatures: Tensor | None = None) -> Tensor:
        """The heatmap a class (B, K, *spatial), float32 (paper eqs. 4 and 5: in [0, 1/e] nats).

        `temperatures` (K,) calibrate the probabilities; see `masks.probabilities`.
        """
        return self.fusion.uncertainty(self.means, self.regions, temperatures)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Sampled:
        """The same with every mean changed: cropped, or turned back."""
        return Sampled([change(mean) for mean in self.means], self.regions, self.fusion)


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
    """Noise a presegmentation to t_start, or draw pure noise, and bring it back (paper Algorithm 1).

    Only the sums of the last T_s steps are kept, never the S x n maps of the chains. Neither the order of the
    chains nor the way in which they are split into batches changes the sums.

    Args:
        denoise: the model over a batch of (chains x B), chain by chain; see `Denoiser`.
        x_pre: the presegmentation in [-1, 1], (B, K, *spatial); chains from noise only need its shape.
        images: the network input (B, C, *spatial) from which the noise is seeded.
        limit: how many of the S x B network inputs run side by side; all of them where None.
    """
    pairs = ddim_pairs(settings.t_start, settings.ddim_steps)
    first_fused = len(pairs) - settings.fusion_steps
    fusion = FUSIONS[settings.fusion]
    sums: list[Tensor] = []

    def add_chains(chains: Sequence[int]) -> None:
        noise = CaseNoise(images, settings.seed, chains)
        draw_noise = partial(noise.draw, tuple(x_pre.shape[1:]))
        x_t = draw_noise()
        if settings.start == "presegmentation":
            x_start = x_pre.repeat(len(chains), *[1] * (x_pre.ndim - 1))
            t = torch.full((x_start.shape[0],), settings.t_start, device=x_start.device, dtype=torch.long)
            x_t = q_sample(x_start, t, x_t, alphas_cumprod)
        steps = ddim_chain(
            denoise,
            x_t,
            pairs,
            alphas_cumprod,
            regions=regions,
            prediction_type=settings.prediction_type,
            eta=settings.eta,
            draw_noise=draw_noise,
        )
        fused = (fusion.kept(step) for i, step in enumerate(steps) if i >= first_fused)
        added = [_sum_over_chains(kept, x_pre.shape) for of_step in fused for kept in of_step]
        # Only now, with nothing left that could run out of memory half way.
        sums[:] = [a + b for a, b in zip(sums, added, strict=True)] if sums else added

    limit = limit or BatchLimit(settings.num_samples * len(images))
    for attempt in limit.attempts(range(settings.num_samples), len(images)):
        with attempt as chains:
            add_chains(chains)  # a function: what a failed attempt held is freed with it
    return Sampled([(total / settings.num_samples).float() for total in sums], regions, fusion)


def _sum_over_chains(kept: Tensor, shape: torch.Size) -> Tensor:
    """Tensors (S * B, K, *spatial), chain by chain, summed to (B, K, *spatial).

    In float64, where the order of the summands does not show in a float32 result; MPS has none.
    """
    exact = torch.float32 if kept.device.type == "mps" else torch.float64
    return kept.view(-1, *shape).sum(0, dtype=exact)
