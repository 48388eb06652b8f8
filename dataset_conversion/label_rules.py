"""From SPIDER's label numbers to the classes of the task.

| SPIDER number | structure | class |
| --- | --- | --- |
| 0 | background | background |
| 1..25 | vertebra | vertebrae |
| 100 | spinal canal | spinal_canal |
| 101..125 | partially visible vertebra | vertebrae, background or ignore, as asked for |
| 201..225 | intervertebral disc | ivd |
| `ignore_label`, if given | unknown, not annotated | ignore |
"""

from __future__ import annotations

import numpy as np

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.labels import (
    BACKGROUND,
    CLASSES,
    IGNORE,
    IVD,
    SPIDER_CANAL,
    SPIDER_DISCS,
    SPIDER_PARTIAL_VERTEBRAE,
    SPIDER_VERTEBRAE,
    SPINAL_CANAL,
    VERTEBRAE,
)

PARTIAL_VERTEBRAE = {"vertebra": VERTEBRAE, "background": BACKGROUND, "ignore": IGNORE}
"""What a partially visible vertebra may become, by the name of the option."""

_UNKNOWN = 255

MAX_LABEL = 65535
"""Largest value of a 16-bit mask."""


def dataset_labels(partial_vertebrae: str = "vertebra", ignore_label: int | None = None) -> dict[str, int]:
    """nnU-Net's `labels` of a dataset converted with these options; `ignore` only where it can occur."""
    can_occur = partial_vertebrae == "ignore" or ignore_label is not None
    return {**CLASSES, "ignore": IGNORE} if can_occur else dict(CLASSES)


def check_ignore_label(ignore_label: int | None) -> None:
    """Raises UserError where the number is a structure of SPIDER's, the background or no mask value."""
    taken = lookup_table()
    if ignore_label is None or (
        0 < ignore_label <= MAX_LABEL and (ignore_label >= len(taken) or taken[ignore_label] == _UNKNOWN)
    ):
        return
    raise UserError(
        f"ignore_label {ignore_label}",
        "not a number of unannotated pixels",
        f"give a number from 1 to {MAX_LABEL} outside of 1..25, 100, 101..125 and 201..225",
    )


def lookup_table(partial_vertebrae: str = "vertebra", ignore_label: int | None = None) -> np.ndarray:
    """Class of every mask number: uint8 of shape (226 or more,), 255 where the number has no meaning."""
    table = np.full(max(*SPIDER_DISCS, ignore_label or 0) + 1, _UNKNOWN, dtype=np.uint8)
    table[0] = BACKGROUND
    table[list(SPIDER_VERTEBRAE)] = VERTEBRAE
    table[SPIDER_CANAL] = SPINAL_CANAL
    table[list(SPIDER_PARTIAL_VERTEBRAE)] = PARTIAL_VERTEBRAE[partial_vertebrae]
    table[list(SPIDER_DISCS)] = IVD
    if ignore_label is not None:
        table[ignore_label] = IGNORE
    return table


def map_labels(
    mask: np.ndarray, partial_vertebrae: str = "vertebra", ignore_label: int | None = None
) -> np.ndarray:
    """Classes of a SPIDER mask.

    Args:
        mask: SPIDER numbers, any shape, any real type.
        partial_vertebrae: "vertebra", "background" or "ignore", for the numbers 101..125.
        ignore_label: the number of pixels that nobody annotated; None if there is none.

    Returns:
        uint8 array of the same shape, values 0..3, and 4 (ignore) only with one of the options.

    Raises:
        ValueError: a number that SPIDER does not define, a fraction, NaN, or no label at all.
    """
    table = lookup_table(partial_vertebrae, ignore_label)
    numbers = np.unique(mask)
    known = np.isin(numbers, np.flatnonzero(table != _UNKNOWN))
    if not known.all():
        unknown = [f"{n:g}" for n in numbers[~known][:5]]
        unannotated = ignore_label is None and len(unknown) == 1 and unknown[0].isdecimal()
        raise ValueError(
            f"unknown label number {', '.join(unknown)}: correct the mask "
            "(SPIDER has 0, 1..25, 100, 101..125 and 201..225)"
            + (
                f", or give --ignore_label {unknown[0]} if these pixels were not annotated"
                if unannotated
                else ""
            )
        )
    if not np.any((numbers != 0) & (numbers != (ignore_label or 0))):
        # Training on it would teach that there is no spine here.
        raise ValueError("the mask is empty: annotate it or remove the series")
    return table[mask.astype(np.intp)]
