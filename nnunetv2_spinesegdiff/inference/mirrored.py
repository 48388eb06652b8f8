"""One network input with its mirrored copies: stage 1, the refiner, and what they are unsure of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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
    refines = isinstance(network, TwoStageNetwork) and network.refine_predictions
    regions = bool(network.heads_are_regions)
    flips = mirrorings(axes)
    sums: list[Tensor] = []
    for attempt in (limit if side_by_side else BatchLimit(1)).attempts(range(len(flips)), 1):
        with attempt as part:
            copies = torch.cat([torch.flip(image, flips[i]) for i in part])
            if not isinstance(network, TwoStageNetwork):
                sampled = network.segment(copies, limit=limit)
                results = [sampled.logits, *sampled.means]
            else:
                stage1 = network.presegment(copies)
                results = [stage1]
                if refines and mirror_refinement:
                    sampled = network.refine(copies, hard_masks(stage1, regions), limit)
                    results = [network.averaged(sampled.logits, stage1), stage1, *sampled.means]
            sums = _with_copies(sums, results, [flips[i] for i in part])
    means = [total / len(flips) for total in sums]
    if not isinstance(network, TwoStageNetwork):
        return Predicted(means[0], None, Sampled(means[1:], regions, network.fusion))
    if not refines:
        return Predicted(means[0], None, Sampled([means[0].float()], regions))
    if mirror_refinement:
        return Predicted(means[0], means[1], Sampled(means[2:], regions, network.fusion))
    steps = network.refine(image, hard_masks(means[0], regions), limit)
    return Predicted(network.averaged(steps.logits, means[0]), means[0], steps)


def _with_copies(sums: list[Tensor], results: list[Tensor], flips: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Sums (1, K, *spatial) with results (B, K, *spatial) of mirrored copies, turned back, added to them."""
    for i, dims in enumerate(flips):
        back = [torch.flip(result[i : i + 1], dims) for result in results]
        sums = [a + b for a, b in zip(sums, back, strict=True)] if sums else back
    return sums
