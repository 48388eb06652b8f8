"""What nnU-Net's evaluation wrote, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd


def mean_dice(summaries: Mapping[str, Path], labels: Mapping[str, int]) -> pd.DataFrame:
    """Mean Dice over cases: a row a class and "mean" over the classes, a column a system.

    Args:
        summaries: system name to the `summary.json` of `nnUNetv2_evaluate_folder`.
        labels: class name to label value, the foreground only; a class in no case is NaN.
    """
    columns = {}
    for system, path in summaries.items():
        summary = json.loads(Path(path).read_text())
        dice = {name: summary["mean"][str(value)]["Dice"] for name, value in labels.items()}
        columns[system] = {**dice, "mean": summary["foreground_mean"]["Dice"]}
    return pd.DataFrame(columns)
