"""The summaries of nnU-Net's evaluation become the table: mean and spread over the cases of all folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError

MEAN = "mDICE"


@dataclass(frozen=True)
class Row:
    """A row of the table before it is computed.

    Attributes:
        system, contrast: what it shows.
        summaries: `summary.json` of every fold.
        dataset_json: names the structures.
    """

    system: str
    contrast: str
    summaries: Sequence[Path]
    dataset_json: Path


def structures(dataset_json: Path) -> dict[str, str]:
    """Name of a structure to its key in a summary; the background and what is ignored are none."""
    labels = json.loads(dataset_json.read_text())["labels"]
    keys = {name: str(tuple(v) if isinstance(v, list) else v) for name, v in labels.items()}
    return {name: key for name, key in keys.items() if key != "0" and name not in ("background", "ignore")}


def dice_of_cases(summaries: Sequence[Path], names: dict[str, str]) -> pd.DataFrame:
    """A row a case, a column a structure; NaN where a case has it neither in truth nor in prediction.

    Raises:
        UserError: a summary holds other structures.
    """
    cases = [case for path in summaries for case in json.loads(path.read_text())["metric_per_case"]]
    try:
        rows = [{name: case["metrics"][key]["Dice"] for name, key in names.items()} for case in cases]
    except KeyError as error:
        raise UserError(f"{summaries[0]}: has no structure {error}; evaluate again") from None
    return pd.DataFrame(rows, columns=list(names), dtype=float)


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Mean and sample standard deviation over cases, a row a system and contrast.

    mDICE is the mean over the structures of their means. What no case has is NaN.
    """
    lines = []
    for row in rows:
        dice = dice_of_cases(row.summaries, structures(row.dataset_json))
        line: dict[str, object] = {"system": row.system, "data": row.contrast, "cases": len(dice)}
        for name in dice:
            line[f"{name} mean"], line[f"{name} sd"] = dice[name].mean(), dice[name].std(ddof=1)
        line[MEAN] = dice.mean().mean()
        lines.append(line)
    table = pd.DataFrame(lines)
    return table[[*(column for column in table if column != MEAN), MEAN]]


def as_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6f", na_rep="n/a")


def as_markdown(table: pd.DataFrame, title: str, transposed: bool = False) -> str:
    """As the paper prints it: two digits and the spread, mDICE with three."""
    names = [column.removesuffix(" mean") for column in table if column.endswith(" mean")]
    lines = [["Model", "Data", *names, MEAN]]
    for _, row in table.iterrows():
        cells = [_cell(row[f"{name} mean"], row[f"{name} sd"]) for name in names]
        lines.append([row["system"], row["data"], *cells, _number(row[MEAN], 3)])
    if transposed:
        lines = [list(column) for column in zip(*lines, strict=True)]
    lines.insert(1, ["---"] * len(lines[0]))
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    cases = sorted(set(table["cases"]))
    spread = "mean ± standard deviation over the validation cases of all folds"
    return f"{title}\n\n{body}\n\n{spread} ({' or '.join(map(str, cases))} cases)\n"


def _cell(mean: float, spread: float) -> str:
    return _number(mean, 2) if np.isnan(spread) else f"{_number(mean, 2)} ± {_number(spread, 2)}"


def _number(value: float, digits: int) -> str:
    return "n/a" if np.isnan(value) else f"{value:.{digits}f}"
