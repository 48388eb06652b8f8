"""Many cases in several processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import TypeVar

from tqdm import tqdm

from ..workers import worker_processes

T = TypeVar("T")


def each_case(
    work: Callable[[str], T], cases: Sequence[str], num_processes: int, description: str
) -> Iterator[tuple[str, T]]:
    """Every case with what `work` makes of it, in the order in which they are done.

    Args:
        work: can be pickled, and raises nothing.

    Raises:
        UserError: a worker was killed.
    """
    workers = min(num_processes, len(cases))
    if workers <= 1:
        for case in tqdm(cases, desc=description, unit="case", disable=None):
            yield case, work(case)
        return
    with worker_processes(workers) as pool:
        jobs = {pool.submit(work, case): case for case in cases}
        for job in tqdm(as_completed(jobs), description, len(jobs), unit="case", disable=None):
            yield jobs[job], job.result()
