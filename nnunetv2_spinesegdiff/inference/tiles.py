"""Maps of the tiles of a sliding window, put together as nnU-Net does with the logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class TileMaps:
    """The tiles that nnU-Net's loop goes through, and weighted means of maps over them.

    The loop accumulates logits and does not report at which tile it is. It visits the tiles in order, and all
    of them again where a GPU has no memory for the logits: with every iteration, the means start again.
    """

    def __init__(self, tiles: Sequence[tuple], size: Sequence[int], weights: Tensor | int):
        """
        Args:
            tiles: slicers of the tiles into (C, *size).
            weights: of the pixels of a tile, shape of a tile, on the CPU.
        """
        self._tiles, self._size, self._weights = tiles, tuple(size), weights

    def __len__(self) -> int:
        return len(self._tiles)

    def __iter__(self) -> Iterator[tuple]:
        self._to_come = iter(self._tiles)
        self._sums: list[Tensor] = []
        self._total = torch.zeros(self._size)
        return iter(self._tiles)

    def add(self, maps: Sequence[Tensor]) -> None:
        """Maps (K, *tile) of the next tile."""
        tile = next(self._to_come)
        if not self._sums:
            self._sums = [torch.zeros((m.shape[0], *self._size)) for m in maps]
        for total, values in zip(self._sums, maps, strict=True):
            total[tile] += values.to("cpu", torch.float32) * self._weights
        self._total[tile[1:]] += self._weights

    def means(self) -> list[Tensor]:
        """The maps (K, *size), float32; to be asked for once, for they take the place of the sums."""
        return [total.div_(self._total) for total in self._sums]
