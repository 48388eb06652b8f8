"""Algorithm 1: average S chains from a presegmentation or from noise, and fuse their last steps."""

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
    """Results of the chains.

    Attributes:
        means: tensors (B, K, *spatial), float32, the noisiest step first. Each is a mean over the chains of
            what the fusion keeps of one of the last T_s steps; `Exponential` keeps logits.
        regions: sigmoid heads instead of softmax.
        fusion: method that makes one segmentation of them.
    """

    means: list[Tensor]
    regions: bool
    fusion: Fusion = FUSIONS["exponential"]

    @property
    def logits(self) -> Tensor:
        """Fused logits (B, K, *spatial), float32 (paper eq. 3)."""
        return self.fusion.logits(self.means, self.regions)

    def uncertainty(self, temperatures: Tensor | None = None) -> Tensor:
        """Compute an uncertainty map per class (paper eqs. 4 and 5).

        Args:
            temperatures: shape (K,), above 0; calibrate the probabilities, see `masks.probabilities`.

        Returns:
            Maps (B, K, *spatial), float32: entropy in nats, 0 to 1/e (`Ensemble`: variance, 0 to 1/4).
        """
        return self.fusion.uncertainty(self.means, self.regions, temperatures)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Sampled:
        """Apply a function to every mean, for example to crop or to mirror it."""
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
    """Add noise to a presegmentation up to t_start, or draw noise only, and denoise it (paper Algorithm 1).

    Only the sums of the last T_s steps are kept in memory, not the S x n maps of the chains. The result does
    not depend on the order of the chains or on how they are split into batches.

    Args:
        denoise: the model, called with batches of (chains x B) items, chain by chain; see `Denoiser`.
        x_pre: presegmentation in [-1, 1], (B, K, *spatial). Only its shape matters to chains from noise.
        images: network input (B, C, *spatial). The noise is seeded by its values.
        settings: values of Algorithm 1.
        alphas_cumprod: shape (N + 1,), see `schedules`.
        regions: sigmoid heads instead of softmax.
        limit: how many of the S x B network inputs are in one batch. The default is all of them.

    Returns:
        Means of the chains, with the fused logits and the uncertainty.

    Examples:
        A network that always predicts class 1 with logits of 0 and 4:

        >>> import torch
        >>> from nnunetv2_spinesegdiff.diffusion.settings import SamplerSettings
        >>> settings = SamplerSettings(num_samples=2, ddim_steps=3, fusion_steps=2)
        >>> def denoise(x_t, t):
        ...     return torch.tensor([0.0, 4.0]).view(1, 2, 1, 1).expand_as(x_t)
        >>> presegmentation, image = torch.zeros(1, 2, 8, 8), torch.rand(1, 1, 8, 8)
        >>> sampled = sample(denoise, presegmentation, image, settings, settings.alphas_cumprod())
        >>> sampled.logits.shape, sampled.logits[0, :, 0, 0].tolist()
        (torch.Size([1, 2, 8, 8]), [0.0, 4.0])
        >>> [round(nats, 3) for nats in sampled.uncertainty()[0, :, 0, 0].tolist()]
        [0.072, 0.018]
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
