"""A disk that fills up while something is written."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable

import pytest

from nnunetv2_spinesegdiff.errors import UserError


def says_that_the_disk_is_full(
    work: Callable[[], object], most: int, told: str = "is the disk full?"
) -> bool:
    """Whether `work` ends with a `UserError` that tells so, where no file can grow beyond `most` bytes."""
    if sys.platform == "win32":
        pytest.skip("Windows has no limit for the size of files")
    child = multiprocessing.get_context("fork").Process(target=_run, args=(work, most, told))
    child.start()
    child.join(60)
    return child.exitcode == 0


def _run(work: Callable[[], object], most: int, told: str) -> None:
    import resource  # not on Windows

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        work()
    except UserError as error:
        raise SystemExit(0 if told in str(error) else 1) from error
    raise SystemExit(2)
