"""What the tiles of a sliding window say beside the logits, put together as nnU-Net does with the logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class TileMaps:
    """Weighted means of maps over overlapping tiles.

    nnU-Net's loop accumulates logits and does not tell at which tile it is; it goes through them in order.
    """

    def __init__(self, tiles: Sequence[tuple], size: torch.Size, weights: Tensor | int, device: torch.device):
        """
        Args:
            tiles: the slicers of the tiles into (C, *size), in the order in which they are visited.
            weights: of the pixels of a tile, shape of a tile.
        """
        self._tiles: Iterator[tuple] = iter(tiles)
        self._size, self._weights, self._device = size, weights, device
        self._sums: list[Tensor] = []
        self._total = torch.zeros(size, device=device)

    def add(self, maps: Sequence[Tensor]) -> None:
        """Maps (K, *tile) of the next tile."""
        tile = next(self._tiles)
        if not self._sums:
            self._sums = [torch.zeros((m.shape[0], *self._size), device=self._device) for m in maps]
        for total, values in zip(self._sums, maps, strict=True):
            total[tile] += values.to(self._device, torch.float32) * self._weights
        self._total[tile[1:]] += self._weights

    def means(self) -> list[Tensor]:
        """The maps (K, *size), float32, on the CPU: a GPU that holds the sums may hold no more."""
        weights = self._total.cpu()
        return [total.cpu() / weights for total in self._sums]
