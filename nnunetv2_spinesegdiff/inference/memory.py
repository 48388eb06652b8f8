"""Memory that a network gave back is kept for its next layer."""

from __future__ import annotations

import ctypes
import sys


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, for the whole process: nothing on other systems.

    It returns every large map to the kernel, which clears it again for the next layer. Measured with full
    width at 320 x 320 on two cores: a forward of the denoiser takes 0.17 s instead of 0.26 s.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
    mallopt(m_mmap_max, 0)
    # What one thread frees, another can take: otherwise the threads that read and write grow without end.
    mallopt(m_arena_max, 1)
    mallopt(m_trim_threshold, 2**31 - 1)
