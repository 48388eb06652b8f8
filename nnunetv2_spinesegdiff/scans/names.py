"""A name of its own for every scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from ..errors import UserError
from .endings import ending_of


def unique_names(paths: Sequence[PurePath]) -> list[str]:
    """A name for each path: its parts joined with "_", without the ending of a scan file or a zip.

    Where names would be equal, their endings stay: `a.mha` and `a.nii.gz` become `a_mha` and `a_nii_gz`.
    Names that differ only in case count as equal: some file systems do not tell them apart.

    Args:
        paths: relative, as they shall be told apart.

    Raises:
        UserError: two paths have the same name even with their endings.
    """
    with_ending: set[int] = set()
    while True:
        names = [_name(path, number in with_ending) for number, path in enumerate(paths)]
        counts = Counter(map(str.casefold, names))
        equal = {number for number, name in enumerate(names) if counts[name.casefold()] > 1}
        if equal <= with_ending:
            break
        with_ending |= equal
    if equal:
        name = next(name for name, count in counts.items() if count > 1)
        first, second = [path for path, own in zip(paths, names, strict=True) if own.casefold() == name][:2]
        raise UserError(f"{first} and {second}: their results would have the same name; rename one of them")
    return names


def _name(path: PurePath, with_ending: bool) -> str:
    joined = "_".join(path.parts)
    ending = ending_of(joined)
    stem = joined[: len(joined) - len(ending)]
    return stem + ending.replace(".", "_") if with_ending else stem
