"""What nnU-Net's evaluation wrote, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd


def mean_dice(summaries: Mapping[str, Path], labels: Mapping[str, int]) -> pd.DataFrame:
    """Mean Dice over cases: a row a class and "mean" over the classes that every system has, a column
    a system.

    Args:
        summaries: system name to the `summary.json` of `nnUNetv2_evaluate_folder`.
        labels: class name to label value, the foreground only; a class in no case is NaN.
    """
    columns = {}
    for system, path in summaries.items():
        means = json.loads(Path(path).read_text())["mean"]
        columns[system] = {name: means[str(value)]["Dice"] for name, value in labels.items()}
    table = pd.DataFrame(columns)
    table.loc["mean"] = table.dropna().mean()
    return table
