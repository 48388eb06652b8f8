"""Batches with as many chains as fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

import torch


class BatchLimit:
    """Number of network inputs per batch; halved permanently when memory runs out.

        for attempt in limit.attempts(range(count), items_each):
            with attempt as part:
                ...

    Attributes:
        items: the current limit, at least 1.
    """

    def __init__(self, items: int):
        self.items = max(1, items)

    def attempts(self, numbers: Sequence[int], items_each: int) -> Iterator[Attempt]:
        """Consecutive parts of `numbers`, each of which costs `items_each` network inputs.

        A block during which memory ran out is left without an error, and its part is done again in halves:
        the block must leave nothing behind where it fails. Only for a part of one number is it an error.
        """
        start = 0
        while start < len(numbers):
            attempt = Attempt(numbers[start : start + max(1, self.items // items_each)])
            yield attempt
            if not attempt.ran_out_of_memory:
                start += len(attempt.part)
                continue
            self.items = len(attempt.part) * items_each // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


class Attempt:
    """A context that ends where memory runs out, if its part can be halved."""

    def __init__(self, part: Sequence[int]):
        self.part = part
        self.ran_out_of_memory = False

    def __enter__(self) -> Sequence[int]:
        return self.part

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        known = isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error)
        self.ran_out_of_memory = known and len(self.part) > 1
        return self.ran_out_of_memory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the allocator of the CPU ran out of memory; torch has no common class for it."""
    told = str(error).lower()
    known = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in told for words in known)
