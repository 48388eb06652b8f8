"""Room on the disk."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from ..errors import UserError


def check_free(folder: Path, needed: int, what_for: str) -> None:
    """Compare the bytes that are free with those that are needed.

    Raises:
        UserError: too few; tells both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {in_words(needed)} are needed {what_for}, {in_words(free)} are free: free some space "
            "or choose another folder"
        )


def is_full(error: OSError) -> bool:
    """Whether an error means a full disk or a quota that is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def in_words(size: int) -> str:
    """`3.7 GB`, `119.4 kB`, `12 bytes`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
