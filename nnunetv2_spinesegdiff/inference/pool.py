"""Many cases in several processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

from ..workers import done_by_workers

T = TypeVar("T")


def each_case(
    work: Callable[[str], T], cases: Sequence[str], num_processes: int, description: str
) -> Iterable[tuple[str, T]]:
    """Every case with what `work` makes of it, in the order in which they are done; see `done_by_workers`."""
    done = done_by_workers(work, cases, num_processes)
    return tqdm(done, description, len(cases), unit="case", disable=None)
