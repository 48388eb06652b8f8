"""How good the masks are: scores a structure, what was missed, and distances."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...text import number
from ..summary_tables import DIGITS, HEADINGS
from .cells import Cell, mean_and_spread, plain
from .page import Section, Table

METRICS = {name: heading[0].upper() + heading[1:] for name, heading in HEADINGS.items()}
MEANS = ("mDICE", "mean")
"""What the last column of a summary table may be called."""
DISTANCES = ("assd_mm", "hd95_mm")

Name = tuple[str, str]


def overlap_section(tables: Mapping[str, pd.DataFrame], controls: Collection[Name]) -> Section:
    """The paper's table: mean ± sd of Dice a structure and mDICE, and the same for Jaccard where it is given.

    Args:
        tables: metric to a table with columns `system`, `data`, `dim` perhaps, `cases`, then `<structure>
            mean`, `<structure> sd` and `<structure> n` of every structure, and one of `MEANS`.
        controls: systems and data that are marked as such.
    """
    blocks = tuple(
        printed(tables[metric], metric, controls, folded=metric != "dice")
        for metric in ("dice", "jaccard")
        if metric in tables
    )
    text = (
        "Mean ± standard deviation over cases; 1 is a perfect mask. A structure that was missed, or drawn "
        "where none is, counts as 0; one that is in neither mask does not count. Where a mean is over fewer "
        "cases than the row has, their number stands in brackets. mDICE is the mean over the structures of "
        "their means.",
    )
    return Section("Scores", text, blocks=blocks)


def distance_section(tables: Mapping[str, pd.DataFrame], controls: Collection[Name]) -> Section:
    """ASSD and HD95. The arguments are those of `overlap_section`."""
    given = [metric for metric in DISTANCES if metric in tables and _has_values(tables[metric])]
    if not given:
        return Section("Distances", ("There are none: no case has masks in which a structure was found.",))
    text = (
        "Mean ± standard deviation over cases, in millimeters; 0 is a perfect mask. Distances exist only "
        "where a structure is in label and prediction: a system that misses the hard ones looks better here, "
        "so read them with the counts above. Where a mean is over fewer cases than the row has, their number "
        "stands in brackets.",
    )
    return Section("Distances", text, blocks=tuple(printed(tables[m], m, controls) for m in given))


def printed(table: pd.DataFrame, metric: str, controls: Collection[Name], folded: bool = False) -> Table:
    """A summary table as it is read: one cell a mean and its spread."""
    structures = [column.removesuffix(" mean") for column in table if column.endswith(" mean")]
    mean = next(name for name in MEANS if name in table)
    digits = DIGITS[metric]
    rows = []
    for row in table.to_dict("records"):
        control = (row["system"], row["data"]) in controls
        line: dict[str, Any] = {"System": f"{row['system']} (control)" if control else row["system"]}
        line |= (
            {"Data": row["data"]} | ({"Dim": row["dim"]} if "dim" in row else {}) | {"Cases": row["cases"]}
        )
        line |= {plain(name): _with_count(row, name, digits) for name in structures}
        more = 1 if mean == MEANS[0] else 0
        line[mean] = Cell(number(row[mean], digits + more), None if np.isnan(row[mean]) else row[mean])
        rows.append(line)
    return Table(without_empty(pd.DataFrame(rows)), f"{METRICS[metric]}, mean ± sd", folded=folded)


def found_section(counts: pd.DataFrame) -> Section:
    """Counts of what was found.

    Args:
        counts: of `evaluation.found_counts.count_found`.
    """
    heads = {
        "system": "System",
        "data": "Data",
        "structure": "Structure",
        "cases": "Cases",
        "both": "Found",
        "missed": "Missed",
        "false": "Drawn where none is",
        "neither": "In neither mask",
    }
    shown = counts.assign(structure=counts["structure"].map(plain)).rename(columns=heads)
    text = (
        "Missed: in the label alone. Drawn where none is: in the prediction alone. A structure that is in "
        "neither mask has no score; it is rightly absent.",
    )
    table = Table(without_empty(shown), "Cases by whether a structure was found")
    return Section("Structures found and missed", text, blocks=(table,))


def without_empty(table: pd.DataFrame) -> pd.DataFrame:
    """Without "Data", where nothing is said of any row."""
    return table.drop(columns="Data") if "Data" in table and (table["Data"] == "").all() else table


def _with_count(row: Mapping[Any, Any], name: str, digits: int) -> Cell:
    cell = mean_and_spread(row[f"{name} mean"], row[f"{name} sd"], digits)
    count = row.get(f"{name} n", row["cases"])
    return cell if count == row["cases"] or cell.value is None else Cell(f"{cell.text} ({count})", cell.value)


def _has_values(table: pd.DataFrame) -> bool:
    return bool(table.filter(regex=" mean$").notna().any(axis=None))
