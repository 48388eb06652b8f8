"""Which slice of a scan is the midsagittal one, by what stage 1 sees in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..dataset_conversion.geometry import SliceView
from ..labels import CLASSES, VERTEBRAE

STEP_MM = 4.0
"""Between the slices that are looked at; a lumbar canal is wider than three of these."""
ENOUGH = 0.9
"""Share of the largest canal that leaves the slice nearest to the middle its place."""


class MidsagittalSearch:
    """Find the slice with the largest canal, the nearest to the middle of those that come close to it.

    The slices of the middle half are looked at, further ones as long as the canal grows towards them, and all
    if there is none.

        for number in search:
            search.see(number, mask_of(number))
        number, note = search.found()
    """

    def __init__(self, whole: SliceView):
        """
        Args:
            whole: view of all slices of the scan.
        """
        self._count, self._middle = whole.num_slices, whole.num_slices // 2
        self._step = max(1, round(STEP_MM / whole.oriented.spacing[2]))
        self._areas: dict[int, int] = {}

    def __iter__(self) -> Iterator[int]:
        """Numbers of slices, 0 = leftmost; which one is next depends on what was seen in those before."""
        steps = range(self._middle % self._step, self._count, self._step)
        nearest = max(self._count / 4, self._step)
        yield from (number for number in steps if abs(number - self._middle) <= nearest)
        if not any(self._areas.values()):
            yield from (number for number in steps if number not in self._areas)
        looked_at = 0
        while looked_at < len(self._areas):
            looked_at, best = len(self._areas), self._largest()
            for number in (best - self._step, best + self._step):
                if number not in self._areas and 0 <= number < self._count:
                    yield number

    def see(self, number: int, mask: np.ndarray) -> None:
        """Note the labels that stage 1 gives to a slice."""
        with_spine = (mask == VERTEBRAE).any()
        self._areas[number] = int((mask == CLASSES["spinal_canal"]).sum()) if with_spine else 0

    def found(self) -> tuple[int, str]:
        """The slice's number, 0 = leftmost, and why it is not the middle one; nothing if it is."""
        areas, middle = self._areas, self._middle
        largest = areas[self._largest()]
        if not largest:
            return middle, f"no spinal canal was found in {len(areas)} slices; the middle one was segmented"
        close = [number for number, area in areas.items() if area >= ENOUGH * largest]
        chosen = min(close, key=lambda number: abs(number - middle))
        if chosen == middle:
            return middle, ""
        return chosen, (
            f"slice {chosen} was segmented instead of the middle one ({middle}), because its spinal canal is "
            "larger; --slices middle segments the middle one"
        )

    def _largest(self) -> int:
        return max(self._areas, key=self._areas.__getitem__)
