"""Processes that share the cases of a command between them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import SimpleITK as sitk

from .errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

_MOST_ON_WINDOWS = 61
"""Processes that Python can wait for there."""


def done_by_workers(
    work: Callable[[Job], Result], jobs: Sequence[Job], count: int, kept: str = ""
) -> Iterator[tuple[Job, Result]]:
    """Yield every job with its result, in the order in which they are done.

    Args:
        work: can be pickled. A single worker is this process.
        count: of workers, at most.
        kept: see `worker_processes`.

    Raises:
        UserError: a worker was killed.
    """
    count = min(count, len(jobs))
    if count < 2:
        yield from ((job, work(job)) for job in jobs)
        return
    with worker_processes(count, kept) as pool:
        running = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(running):
            yield running[done], done.result()


@contextmanager
def worker_processes(count: int, kept: str = "") -> Iterator[ProcessPoolExecutor]:
    """So many processes, of one thread each; what they have not begun is dropped where the block ends.

    Args:
        kept: what a user who runs the command again need not wait for once more.

    Raises:
        UserError: a worker was killed.
    """
    count = min(count, _MOST_ON_WINDOWS) if sys.platform == "win32" else count
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=_use_one_thread) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            advice = f"run again with a smaller -np{f'; {kept} are kept' if kept else ''}"
            raise UserError(None, "a worker was killed, probably because memory ran out", advice) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    # One process a core is enough; threads on top of that only get in each other's way.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch where it is still to be loaded, by those who need it
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
