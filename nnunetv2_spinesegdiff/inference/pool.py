"""Many cases in several processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

import SimpleITK as sitk
import torch
from tqdm import tqdm

from ..errors import UserError

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
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker) as pool:
        try:
            jobs = {pool.submit(work, case): case for case in cases}
            for job in tqdm(as_completed(jobs), description, len(jobs), unit="case", disable=None):
                yield jobs[job], job.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed, most likely for want of memory: run again with a smaller -np"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # One process a core is enough; threads on top of that only get in each other's way.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
