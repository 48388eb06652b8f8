"""From SPIDER's label numbers to the classes of the task.

| SPIDER number | structure | class |
| --- | --- | --- |
| 0 | background | background |
| 1..25 | vertebra | vertebrae |
| 100 | spinal canal | spinal_canal |
| 101..125 | partially visible vertebra | vertebrae, background or ignore, as asked for |
| 201..225 | intervertebral disc | ivd |
"""

from __future__ import annotations

import numpy as np

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


def dataset_labels(partial_vertebrae: str = "vertebra") -> dict[str, int]:
    """nnU-Net's `labels` of a dataset converted with this option; `ignore` only where it can occur."""
    return {**CLASSES, "ignore": IGNORE} if partial_vertebrae == "ignore" else dict(CLASSES)


def lookup_table(partial_vertebrae: str = "vertebra") -> np.ndarray:
    """Class of every SPIDER number: uint8 of shape (226,), 255 where the number has no meaning.

    Raises:
        ValueError: unknown option.
    """
    if partial_vertebrae not in PARTIAL_VERTEBRAE:
        raise ValueError(
            f"unknown partial_vertebrae {partial_vertebrae!r}, known: {', '.join(PARTIAL_VERTEBRAE)}"
        )
    table = np.full(max(SPIDER_DISCS) + 1, _UNKNOWN, dtype=np.uint8)
    table[0] = BACKGROUND
    table[list(SPIDER_VERTEBRAE)] = VERTEBRAE
    table[SPIDER_CANAL] = SPINAL_CANAL
    table[list(SPIDER_PARTIAL_VERTEBRAE)] = PARTIAL_VERTEBRAE[partial_vertebrae]
    table[list(SPIDER_DISCS)] = IVD
    return table


def map_labels(mask: np.ndarray, partial_vertebrae: str = "vertebra") -> np.ndarray:
    """Classes of a SPIDER mask.

    Args:
        mask: SPIDER numbers, any shape, any real type.
        partial_vertebrae: "vertebra", "background" or "ignore", for the numbers 101..125.

    Returns:
        uint8 array of the same shape, values 0..3, and 4 (ignore) only with "ignore".

    Raises:
        ValueError: a number that SPIDER does not define, a fraction, NaN, or no label at all.
    """
    table = lookup_table(partial_vertebrae)
    numbers = np.unique(mask)
    known = np.isin(numbers, np.flatnonzero(table != _UNKNOWN))
    if not known.all():
        raise ValueError(
            f"unknown label number {', '.join(f'{n:g}' for n in numbers[~known][:5])}: correct the mask "
            "(SPIDER has 0, 1..25, 100, 101..125 and 201..225)"
        )
    if not numbers.any():
        # Training on it would teach that there is no spine here.
        raise ValueError("the mask is empty: annotate it or remove the series")
    return table[mask.astype(np.intp)]
