"""As many chains side by side as memory holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


class BatchLimit:
    """How many network inputs run side by side; halved for good when memory runs out.

    Attributes:
        items: the current limit, at least 1.
    """

    def __init__(self, items: int):
        self.items = max(1, items)

    def run(self, work: Callable[[Sequence[int]], None], numbers: Sequence[int], items_each: int) -> None:
        """Call `work` with consecutive parts of `numbers`, each of which costs `items_each` network inputs.

        A part during which memory ran out is done again in halves, so `work` must leave nothing behind where
        it fails. Raises what `work` raises, out of memory only where a part of one number does not fit.
        """
        start = 0
        while start < len(numbers):
            part = numbers[start : start + max(1, self.items // items_each)]
            if not self._fits(work, part):
                self.items = len(part) * items_each // 2
                continue
            start += len(part)

    def _fits(self, work: Callable[[Sequence[int]], None], part: Sequence[int]) -> bool:
        """Whether there was memory enough. Its own frame: what the failed attempt held is freed with it."""
        try:
            work(part)
        except (RuntimeError, MemoryError) as error:
            if len(part) == 1 or not is_out_of_memory(error):
                raise
        else:
            return True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the allocator of the CPU ran out of memory; torch has no common class for it."""
    told = str(error).lower()
    known = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in told for words in known)
