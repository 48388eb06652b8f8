"""Processes that share cases: one thread each, and a killed one is an error of one line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.workers import done_by_workers, worker_processes


def threads(_: int) -> tuple[int, int]:
    """In a worker, which loads torch only now."""
    import torch

    return torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def note(path: Path, seconds: float) -> None:
    path.touch()
    time.sleep(seconds)


def test_each_has_one_thread():
    with worker_processes(1) as pool:
        assert list(pool.map(threads, range(1))) == [(1, 1)]


@pytest.mark.parametrize(("kept", "end"), [("", "-np"), ("finished series", "-np; finished series are kept")])
def test_a_killed_one_is_one_line(kept: str, end: str):
    with pytest.raises(UserError) as error, worker_processes(1, kept) as pool:
        list(pool.map(die, range(1)))
    assert str(error.value).endswith(end)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [1, 2])
def test_every_job_is_done_once(count):
    assert sorted(done_by_workers(str, range(5), count)) == [(job, str(job)) for job in range(5)]


def stopped_after_the_first(folder: Path) -> None:
    with worker_processes(1) as pool:
        jobs = [pool.submit(note, folder / str(number), 0.5) for number in range(30)]
        jobs[0].result()
        raise KeyboardInterrupt


def test_what_is_not_begun_when_the_block_ends_is_dropped(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        stopped_after_the_first(tmp_path)
    assert 1 <= len(list(tmp_path.iterdir())) < 10
