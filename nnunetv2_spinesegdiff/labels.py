"""Class ids and names of the lumbar spine task (no torch here: every room may import this)."""

from __future__ import annotations

BACKGROUND = 0
SPINAL_CANAL = 1
VERTEBRAE = 2
IVD = 3
IGNORE = 4

CLASSES: dict[str, int] = {
    "background": BACKGROUND,
    "spinal_canal": SPINAL_CANAL,
    "vertebrae": VERTEBRAE,
    "ivd": IVD,
}
"""nnU-Net `labels` of a converted dataset; `ignore` (4) is added only where it is asked for."""

SPIDER_CANAL = 100
SPIDER_VERTEBRAE = range(1, 26)
SPIDER_PARTIAL_VERTEBRAE = range(101, 126)
SPIDER_DISCS = range(201, 226)


def summary_key(label: object) -> str:
    """Return the key of a label, or of a region (list of labels), in nnU-Net's summary.json."""
    return str(tuple(label)) if isinstance(label, list | tuple) else str(label)
