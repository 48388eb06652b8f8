"""Damaged presegmentations for training.

Stage 1 segments its own training cases almost perfectly, and a refiner that only sees those learns to copy.
Damage of the kinds that presegmentations show on new scans makes it look at the image. What happens is drawn
first (`draw_damage`), and applied by functions without chance (`Damage.apply`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Damage(ABC):
    """One damage to the foreground masks of one case, float {0, 1}, shape (F, *spatial)."""

    channel: int
    """The foreground channel that is hit, 0..F-1."""
    where: tuple[float, ...]
    """Numbers in [0, 1), one an axis: a position, a direction or a choice."""
    size: tuple[int, ...]
    """Pixels along every axis; 0 along an axis whose pixels are much longer than the damage."""

    @abstractmethod
    def apply(self, masks: Tensor) -> Tensor:
        """The damaged masks; the input is left as it is."""


class Dilate(Damage):
    """The structure grows by `size` pixels."""

    def apply(self, masks: Tensor) -> Tensor:
        return _replaced(masks, self.channel, _dilated(masks[self.channel], self.size))


class Erode(Damage):
    """The structure shrinks by `size` pixels."""

    def apply(self, masks: Tensor) -> Tensor:
        return _replaced(masks, self.channel, 1 - _dilated(1 - masks[self.channel], self.size))


class DropComponent(Damage):
    """One connected component of the structure is missing, a disc for instance."""

    def apply(self, masks: Tensor) -> Tensor:
        components, count = ndimage.label(masks[self.channel].cpu().numpy())
        if count == 0:
            return masks
        dropped = torch.from_numpy(components == 1 + int(self.where[0] * count)).to(masks.device)
        return _replaced(masks, self.channel, masks[self.channel] * ~dropped)


class AddBlob(Damage):
    """A ball of the structure, of radius `size`, where none need be."""

    def apply(self, masks: Tensor) -> Tensor:
        spatial = masks.shape[1:]
        distance = torch.zeros((), device=masks.device)
        for axis, (n, fraction, radius) in enumerate(zip(spatial, self.where, self.size, strict=True)):
            offsets = (torch.arange(n, device=masks.device) - fraction * n) / max(radius, 0.5)
            distance = distance + offsets.view(-1, *[1] * (len(spatial) - 1 - axis)) ** 2
        return _replaced(masks, self.channel, torch.maximum(masks[self.channel], (distance <= 1).float()))


class Shift(Damage):
    """Everything moves by up to `size` pixels along every axis; what leaves the picture is gone."""

    def apply(self, masks: Tensor) -> Tensor:
        for axis, (fraction, size) in enumerate(zip(self.where, self.size, strict=True), 1):
            offset, n = round((2 * fraction - 1) * size), masks.shape[axis]
            masks = torch.roll(masks, offset, axis)
            start, emptied = (0, offset) if offset >= 0 else (n + offset, -offset)
            masks.narrow(axis, max(start, 0), min(emptied, n)).zero_()
        return masks


class SwapWithNext(Damage):
    """Two structures take each other's name."""

    def apply(self, masks: Tensor) -> Tensor:
        order = list(range(masks.shape[0]))
        other = (self.channel + 1) % len(order)
        order[self.channel], order[other] = other, self.channel
        return masks[order]


class Empty(Damage):
    """Nothing was found."""

    def apply(self, masks: Tensor) -> Tensor:
        return torch.zeros_like(masks)


_KINDS: dict[type[Damage], tuple[float, int]] = {
    Dilate: (0.2, 3),
    Erode: (0.2, 3),
    DropComponent: (0.25, 1),
    AddBlob: (0.15, 12),
    Shift: (0.1, 8),
    SwapWithNext: (0.05, 1),
    Empty: (0.05, 1),
}
"""How often a kind is drawn, and its largest size, in pixels of the finest axis, at strength 1."""


def draw_damage(
    rng: np.random.Generator,
    num_foreground: int,
    spacing: Sequence[float],
    strength: float = 1.0,
    clean_share: float = 0.25,
) -> list[Damage]:
    """What happens to the presegmentation of one case: nothing for `clean_share` of them, else one to three
    damages.

    Args:
        spacing: of the axes, in mm: damage is as large along thick slices as in plane.
        strength: scales the sizes; 0 damages nothing.
        clean_share: in [0, 1].
    """
    if strength <= 0 or rng.random() < clean_share:
        return []
    kinds = rng.choice(len(_KINDS), size=rng.integers(1, 4), p=[p for p, _ in _KINDS.values()])
    damages = []
    for kind in kinds:
        damage, (_, largest) = list(_KINDS.items())[kind]
        channel, where = int(rng.integers(num_foreground)), tuple(rng.random(len(spacing)))
        size = int(rng.integers(1, max(1, round(largest * strength)) + 1))
        damages.append(damage(channel, where, tuple(round(size * min(spacing) / mm) for mm in spacing)))
    return damages


def corrupt(masks: Tensor, regions: bool, draw: Callable[[], list[Damage]]) -> Tensor:
    """Damage the presegmentations of a batch, each on its own.

    Args:
        masks: {0, 1}, float, (B, K, *spatial); with classes channel 0 is the background.
        draw: called once a case, see `draw_damage`.

    Returns:
        Same shape; with classes every pixel belongs to exactly one of them again.
    """
    cases = []
    for case in masks:
        foreground = case if regions else case[1:]
        for damage in draw():
            damaged = damage.apply(foreground)
            foreground = damaged if regions else _without_overlap(damaged, foreground)
        cases.append(foreground if regions else _with_background(foreground))
    return torch.stack(cases)


def _without_overlap(damaged: Tensor, before: Tensor) -> Tensor:
    """(F, *spatial): where damage has put a structure over another one, only what it has put there."""
    added = damaged > before
    return torch.where(added.any(0), added.float(), damaged)


def _with_background(foreground: Tensor) -> Tensor:
    """(F, *spatial) without overlap to a one-hot (F + 1, *spatial)."""
    return torch.cat([1 - foreground.amax(0, keepdim=True), foreground])


def _replaced(masks: Tensor, channel: int, mask: Tensor) -> Tensor:
    masks = masks.clone()
    masks[channel] = mask
    return masks


def _dilated(mask: Tensor, radius: tuple[int, ...]) -> Tensor:
    pool = F.max_pool2d if mask.ndim == 2 else F.max_pool3d
    kernel = tuple(2 * r + 1 for r in radius)
    return pool(mask[None, None], kernel_size=kernel, stride=1, padding=radius)[0, 0]
