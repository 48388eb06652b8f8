"""Locks on open files: held until the file is closed, however its process ends."""

from __future__ import annotations

import fcntl


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
