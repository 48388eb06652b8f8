"""Names and contents of the columns of score tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

OVERLAPS = ("dice", "jaccard")
DISTANCES = ("assd_mm", "hd95_mm")
METRICS = (*OVERLAPS, *DISTANCES)
SIZES = ("true_mm2", "predicted_mm2", "true_mm3", "predicted_mm3")

FOUND: Mapping[tuple[bool, bool], str] = {
    (True, True): "both",
    (True, False): "missed",
    (False, True): "false",
    (False, False): "neither",
}
"""The column `found`, by whether a structure is in the label and in the prediction."""

Name = tuple[str, str]
"""The columns `system` and `data` of a system; `data` is empty where it is not known."""


def label_of(name: Name) -> str:
    """Write "SpineSegDiff (T1w)"."""
    return f"{name[0]} ({name[1]})" if name[1] else name[0]


def rows_of(table: pd.DataFrame, name: Name) -> pd.DataFrame:
    """The rows of one system."""
    return table[(table["system"] == name[0]) & (table["data"] == name[1])]
