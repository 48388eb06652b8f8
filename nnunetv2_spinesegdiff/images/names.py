"""A name of its own for every scan."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from ..errors import UserError
from .endings import ending_of

MOST_BYTES = 150
"""Of a name, so that a file system takes it with any ending and the random part of an unfinished file."""
_DIGITS = 10


def unique_names(paths: Sequence[PurePath]) -> list[str]:
    """A name for each path: its parts joined with "_", without the ending of a scan file or a zip.

    Where names would be equal, their endings stay: `a.mha` and `a.nii.gz` become `a_mha` and `a_nii_gz`.
    Names that differ only in case, or in how accents are encoded, count as equal: some file systems do not
    tell them apart. Dots in front, which would hide the results, are dropped, bytes that are no UTF-8 are
    replaced, and of names above `MOST_BYTES` the rest is replaced by digits of the whole name's SHA-256.

    Args:
        paths: relative, as they shall be told apart.

    Raises:
        UserError: two paths have the same name even with their endings.
    """
    with_ending: set[int] = set()
    while True:
        names = [_name(path, number in with_ending) for number, path in enumerate(paths)]
        folded = list(map(_folded, names))
        counts = Counter(folded)
        equal = {number for number, name in enumerate(folded) if counts[name] > 1}
        if equal <= with_ending:
            break
        with_ending |= equal
    if equal:
        name = next(name for name, count in counts.items() if count > 1)
        first, second = [path for path, own in zip(paths, folded, strict=True) if own == name][:2]
        raise UserError(f"{first} and {second}: their results would have the same name; rename one of them")
    return names


def _name(path: PurePath, with_ending: bool) -> str:
    joined = "_".join(path.parts)
    ending = ending_of(joined)
    stem = joined[: len(joined) - len(ending)]
    return _short(_plain(stem + ending.replace(".", "_") if with_ending else stem))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _plain(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace").lstrip(".") or "scan"


def _short(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= MOST_BYTES:
        return name
    start = encoded[: MOST_BYTES - _DIGITS - 1].decode("utf-8", "ignore")
    return f"{start}-{hashlib.sha256(encoded).hexdigest()[:_DIGITS]}"
