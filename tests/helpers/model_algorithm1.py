"""Algorithm 1 of the paper as plain loops over chains and steps, in float64: the reference for `sample`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnunetv2_spinesegdiff.diffusion.noise import content_seed
from nnunetv2_spinesegdiff.diffusion.settings import SamplerSettings


@dataclass(frozen=True)
class ToyModel:
    """A denoiser whose logits depend on mask, step and image, once for torch and once for numpy."""

    mix: np.ndarray  # (K, K)
    of_step: np.ndarray  # (K,)
    of_image: np.ndarray  # (K,)

    @classmethod
    def random(cls, num_heads: int, rng: np.random.Generator) -> ToyModel:
        return cls(*(rng.normal(0, 1, shape) for shape in ((num_heads, num_heads), num_heads, num_heads)))

    def one_case(self, x_t: np.ndarray, t: int, image: np.ndarray) -> np.ndarray:
        """x_t (K, *spatial), image (1, *spatial) -> logits (K, *spatial)."""
        shape = (-1, *[1] * (x_t.ndim - 1))
        return (
            np.einsum("ij,j...->i...", self.mix, np.tanh(x_t))
            + self.of_step.reshape(shape) * math.sin(t / 7)
            + self.of_image.reshape(shape) * image
        )

    def batch(self, images: Tensor):
        """The denoiser that `sample` calls, over (chains x B), chain by chain."""

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            chains = x_t.shape[0] // images.shape[0]
            shape = (1, -1, *[1] * (x_t.ndim - 2))
            mix, of_step, of_image = (torch.from_numpy(a).float() for a in vars(self).values())
            return (
                torch.einsum("ij,bj...->bi...", mix, torch.tanh(x_t))
                + of_step.view(shape) * torch.sin(t / 7).view(-1, *[1] * (x_t.ndim - 1))
                + of_image.view(shape) * torch.cat([images] * chains)
            )

        return denoise


def alpha_bars(schedule: str, length: int) -> list[float]:
    """alpha_bar_0..alpha_bar_N, one product at a time."""
    bars = [1.0]
    for step in range(1, length + 1):
        if schedule == "linear":
            beta = 1e-4 + (0.02 - 1e-4) * (step - 1) / max(length - 1, 1)
        else:
            f = [math.cos((i / length + 0.008) / 1.008 * math.pi / 2) ** 2 for i in (step - 1, step)]
            beta = min(1 - f[1] / f[0], 0.999)
        bars.append(bars[-1] * (1 - beta))
    return bars


def probabilities(logits: np.ndarray, regions: bool) -> np.ndarray:
    if regions:
        return 1 / (1 + np.exp(-logits))
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def sampled_case(
    model: ToyModel, x_pre: np.ndarray, image: Tensor, s: SamplerSettings, regions: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Fused logits and heatmap (K, *spatial) of one case."""
    bars = alpha_bars(s.schedule, s.num_train_timesteps)
    bounds = [round(s.t_start * (s.ddim_steps - i) / s.ddim_steps) for i in range(s.ddim_steps + 1)]
    of_steps: list[list[np.ndarray]] = [[] for _ in range(s.ddim_steps)]
    for chain in range(s.num_samples):
        generator = torch.Generator().manual_seed(content_seed(image, s.seed, chain))

        def draw(generator: torch.Generator = generator) -> np.ndarray:
            return torch.randn(x_pre.shape, generator=generator).double().numpy()

        x = math.sqrt(bars[s.t_start]) * x_pre + math.sqrt(1 - bars[s.t_start]) * draw()
        for i in range(s.ddim_steps):
            a, b = bars[bounds[i]], bars[bounds[i + 1]]
            logits = model.one_case(x, bounds[i], image.double().numpy())
            of_steps[i].append(logits)
            if bounds[i + 1] == 0:
                break
            x0 = 2 * probabilities(logits, regions) - 1
            epsilon = (x - math.sqrt(a) * x0) / math.sqrt(1 - a)
            sigma = s.eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
            x = math.sqrt(b) * x0 + math.sqrt(1 - b - sigma**2) * epsilon
            if s.eta > 0:
                x = x + sigma * draw()

    fused, heatmap, total = np.zeros_like(x_pre), np.zeros_like(x_pre), 0.0
    for t in range(1, s.fusion_steps + 1):
        mean = np.mean(of_steps[s.ddim_steps - s.fusion_steps + t - 1], axis=0)
        weight = math.exp(-s.fusion_steps / 2 * (s.fusion_steps - t) / s.fusion_steps)
        fused, total = fused + weight * mean, total + weight
        p = probabilities(mean, regions)
        heatmap = np.maximum(heatmap, -p * np.log(p))
    return fused / total, heatmap
