"""Locks between processes: they end with the process that holds them, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(path: Path, *, wait: bool = False, without_locks: bool = True) -> Iterator[bool]:
    """Lock a file for as long as the block runs.

    The file systems of some clusters have no locks. There, every process gets what `without_locks` states.

    Args:
        path: the lock file; made if it is missing. It may remain afterwards.
        wait: whether to wait for the process that holds the lock.
        without_locks: what to yield on a file system without locks.

    Yields:
        True if this block holds the lock, False if another process or thread holds it.

    Raises:
        OSError: the lock file cannot be made or opened.
    """
    path.touch()
    file_lock = FileLock(path)
    try:
        file_lock.acquire(timeout=-1 if wait else 0)
        holds = True
    except Timeout:
        holds = False
    except (OSError, NotImplementedError):
        if not os.access(path, os.R_OK | os.W_OK):
            raise
        holds = without_locks
    try:
        yield holds
    finally:
        file_lock.release()


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file or folder for this process and those that inherit the descriptor.

    Some clusters mount file systems that know no locks. There everybody gets one: better none than no work.

    Args:
        wait: for whoever holds it.

    Returns:
        False where another process holds it.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
