"""Locks between processes: they end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


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
    with _acquired(path, wait) as (holds, _):
        yield without_locks if holds is None else holds


@contextmanager
def held(path: Path, busy: Exception) -> Iterator[int | None]:
    """Lock a file like `locked`, without waiting, for processes that must not run at the same time.

    Args:
        path: the lock file.
        busy: raised if another process or thread holds the lock.

    Yields:
        The file descriptor. A child process that inherits it keeps the lock if this process is killed.

    Raises:
        OSError: the lock file cannot be made or opened.
    """
    with _acquired(path, False) as (holds, descriptor):
        if holds is False:
            raise busy
        yield descriptor


@contextmanager
def _acquired(path: Path, wait: bool) -> Iterator[tuple[bool | None, int | None]]:
    """Yield whether the lock is held (None on a file system without locks), and its file descriptor."""
    path.parent.stat()  # a missing folder is an error; FileLock would create it
    file_lock = FileLock(path)  # creates the file; without flock it takes a file that exists for a lock
    holds: bool | None = True
    try:
        file_lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        holds = False
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        holds = None
    try:
        yield holds, file_lock._context.lock_file_fd
    finally:
        file_lock.release()
