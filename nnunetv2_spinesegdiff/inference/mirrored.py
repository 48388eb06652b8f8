"""One network input with its mirrored copies: stage 1, the refiner, and what they are unsure of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.batching import BatchLimit
from ..diffusion.masks import hard_masks
from ..diffusion.sampler import Sampled
from ..network.diffusion_network import DiffusionNetwork
from ..network.two_stage import TwoStageNetwork


@dataclass
class Predicted:
    """Means over the mirrored copies of one input, turned back.

    Attributes:
        logits: final logits (1, K, *spatial).
        stage1: stage 1's logits (1, K, *spatial); None without a stage 1, and where they are the result.
        steps: what is fused of the steps, from which eqs. 4 and 5 follow; of stage 1 alone, its own logits.
    """

    logits: Tensor
    stage1: Tensor | None
    steps: Sampled


def mirrorings(axes: Sequence[int] | None) -> list[tuple[int, ...]]:
    """All combinations of the spatial axes, as tensor dimensions, in nnU-Net's order; the first is none."""
    dims = [axis + 2 for axis in axes or ()]
    return [c for size in range(len(dims) + 1) for c in itertools.combinations(dims, size)]


def predict_mirrored(
    network: DiffusionNetwork,
    image: Tensor,
    axes: Sequence[int] | None,
    *,
    mirror_refinement: bool,
    side_by_side: bool,
) -> Predicted:
    """Predict one input (1, C, *spatial) and its mirrored copies, and average.

    Args:
        axes: nnU-Net's `allowed_mirroring_axes`; None mirrors nothing.
        mirror_refinement: refine every copy from its own presegmentation, or once from their mean. Without
            a stage 1 every copy is segmented.
        side_by_side: put copies into one batch, as many as memory holds. One by one gives nnU-Net's own
            numbers to the bit, which other batch sizes do not.
    """
    limit = network.batch_limit(image)
    turned = _MeanOverCopies(image, axes, limit if side_by_side else BatchLimit(1))
    if not isinstance(network, TwoStageNetwork):
        return _from_noise(network, turned, limit)
    regions = bool(network.heads_are_regions)
    if not network.refine_predictions:
        (stage1,) = turned.mean(lambda copies: [network.presegment(copies)])
        return Predicted(stage1, None, Sampled([stage1.float()], regions))
    if not mirror_refinement:
        (stage1,) = turned.mean(lambda copies: [network.presegment(copies)])
        steps = network.refine(image, hard_masks(stage1, regions), limit)
        return Predicted(network.averaged(steps.logits, stage1), stage1, steps)

    def both_stages(copies: Tensor) -> list[Tensor]:
        stage1 = network.presegment(copies)
        refined = network.refine(copies, hard_masks(stage1, regions), limit)
        return [network.averaged(refined.logits, stage1), stage1, *refined.means]

    logits, stage1, *means = turned.mean(both_stages)
    return Predicted(logits, stage1, Sampled(means, regions, network.fusion))


def _from_noise(network: DiffusionNetwork, turned: _MeanOverCopies, limit: BatchLimit) -> Predicted:
    def segment(copies: Tensor) -> list[Tensor]:
        segmented = network.segment(copies, limit=limit)
        return [segmented.logits, *segmented.means]

    logits, *means = turned.mean(segment)
    return Predicted(logits, None, Sampled(means, bool(network.heads_are_regions), network.fusion))


class _MeanOverCopies:
    """Run something on the mirrored copies of an image, turn its results back, and average them."""

    def __init__(self, image: Tensor, axes: Sequence[int] | None, limit: BatchLimit):
        self.image, self.mirrorings, self.limit = image, mirrorings(axes), limit

    def mean(self, run: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """`run` takes copies (B, C, *spatial) and gives a list of (B, K, *spatial)."""
        sums: list[Tensor] = []

        def add_copies(numbers: Sequence[int]) -> None:
            flips = [self.mirrorings[i] for i in numbers]
            results = run(torch.cat([torch.flip(self.image, dims) for dims in flips]))
            total = list(sums)
            for i, dims in enumerate(flips):
                back = [torch.flip(result[i : i + 1], dims) for result in results]
                total = [a + b for a, b in zip(total, back, strict=True)] if total else back
            # Only now, with nothing left that could run out of memory half way.
            sums[:] = total

        self.limit.run(add_copies, range(len(self.mirrorings)), 1)
        return [total / len(self.mirrorings) for total in sums]
