"""Locks on open files: held until the file is closed, however its process ends."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def held(path: Path, busy: Exception) -> Iterator[int | None]:
    """Hold the lock of a file, which is created if missing, without waiting for another process.

    On file systems without locks, as some clusters mount them, the block runs without one.

    Args:
        busy: raised if another process holds the lock.

    Yields:
        The file descriptor. A child process that inherits it holds the lock, too, if this process is killed.

    Raises:
        OSError: the file cannot be created.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise busy from None
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            raise
    try:
        yield lock._context.lock_file_fd
    finally:
        lock.release()


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file or folder for this process and those that inherit the descriptor.

    Some clusters mount file systems that know no locks. There everybody gets one: better none than no work.

    Args:
        wait: for whoever holds it.

    Returns:
        False where another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
