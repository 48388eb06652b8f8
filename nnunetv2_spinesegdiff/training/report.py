"""Comparison of stage 1 alone with the refined result, on the validation cases of one training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..files import load_json
from ..labels import summary_key
from ..text import number

LOWEST_DICE = 0.5
"""Mean Dice on validation cases below which masks of a model are of no use."""


def too_low(dice: float | None) -> str:
    """A sentence about a model whose mean Dice on validation cases is below `LOWEST_DICE`; else empty."""
    if dice is None or dice >= LOWEST_DICE:
        return ""
    known = f"the mean Dice on validation cases is {number(dice, 2)}, below {LOWEST_DICE}"
    return f"{known}: the masks of this model are of no use"


def compare(
    stage1_summary: Path, refined_summary: Path, labels: dict[str, Any], fold: int | str
) -> dict[str, Any]:
    """Dice per class of both, from two `summary.json` of nnU-Net over the same cases.

    Args:
        labels: `labels` of the dataset.json, for the names.
        fold: of the training; that of fold "all" has no cases of its own to validate on.

    Returns:
        {"fold": .., "cases": n, "dice": {class name: {"stage1": .., "refined": .., "difference": ..}}}.
        NaN becomes None: a class that occurs in no case has no Dice. "mean" is over those that have one.
    """
    summaries = [load_json(path) for path in (stage1_summary, refined_summary)]
    names = {summary_key(value): name for name, value in labels.items()}
    pairs = {key: [summary["mean"][key]["Dice"] for summary in summaries] for key in summaries[0]["mean"]}
    known = [pair for pair in pairs.values() if not np.isnan(pair).any()]
    dice = {names.get(key, key): _row(*pair) for key, pair in pairs.items()}
    dice["mean"] = _row(*(np.mean(known, axis=0) if known else (np.nan, np.nan)))
    return {"fold": fold, "cases": len(summaries[1]["metric_per_case"]), "dice": dice}


def as_lines(report: dict[str, Any]) -> list[str]:
    """Write the comparison as a small table, one line per class."""
    kind = "training" if report["fold"] == "all" else "validation"
    title = f"Dice on {report['cases']} {kind} cases"
    lines = [f"{title:<32} stage 1    refined    difference"]
    for name, row in report["dice"].items():
        shown = [
            "     n/a" if v is None else f"{v:8.4f}"
            for v in (row["stage1"], row["refined"], row["difference"])
        ]
        lines.append(f"{name:<32}{shown[0]}   {shown[1]}      {shown[2]}")
    if warning := too_low(report["dice"]["mean"]["refined"]):
        lines.append(f"warning: {warning}")
    return lines


def _row(stage1: float, refined: float) -> dict[str, float | None]:
    return {
        "stage1": _number(stage1),
        "refined": _number(refined),
        "difference": _number(refined - stage1),
    }


def _number(value: float) -> float | None:
    return None if value != value else float(value)
