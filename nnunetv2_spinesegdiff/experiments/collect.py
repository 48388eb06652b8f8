"""The summaries of nnU-Net's evaluation become the table: mean and spread over the cases of all folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..evaluation.summary_tables import summary_table


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


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """A summary table (see `summary_table`) of Dice over the cases of all folds.

    Raises:
        UserError: a summary holds other structures.
    """
    scores = pd.concat([_scores(row) for row in rows], ignore_index=True)
    return summary_table(scores, [(row.system, row.contrast) for row in rows])


def _scores(row: Row) -> pd.DataFrame:
    names = structures(row.dataset_json)
    lines = []
    for path in row.summaries:
        for number, case in enumerate(json.loads(path.read_text())["metric_per_case"]):
            missing = [key for key in names.values() if key not in case["metrics"]]
            if missing:
                raise UserError(f"{path}: has no structure {missing[0]!r}; evaluate again")
            # A case is known by its place: summaries of one system are of different cases.
            own = {"system": row.system, "data": row.contrast, "case": f"{path}:{number}"}
            lines += [
                {**own, "structure": name, "dice": case["metrics"][key]["Dice"]}
                for name, key in names.items()
            ]
    return pd.DataFrame(lines).astype({"dice": float})
