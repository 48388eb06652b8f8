"""The tables of an evaluation as files: scores a system, by contrast, and differences between systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...files import save_json
from .. import comparisons
from ..comparisons import compare
from ..scores import DISTANCES, METRICS
from ..summary_tables import (
    HEADINGS,
    absence_note,
    as_csv,
    as_latex,
    as_markdown,
    by_contrast,
    cases_note,
    printed,
    summary_table,
)
from .evaluation_folder import Evaluation, System
from .plain_tables import p_value, read_table, write_text

TABLES = "tables"
SUMMARY = "scores.json"
COMPARISONS = "comparisons"


def write_tables(
    evaluation: Evaluation,
    title: str,
    metric: str = "dice",
    against: str | None = None,
    transposed: bool = False,
) -> None:
    """Write `tables/<metric>.csv`, `.md` and `.tex` for all metrics, `tables/comparisons.csv` and `.md`, and
    `scores.json`.

    Args:
        title: of the table of Dice; the others are named after their metric.
        metric, against: of the comparisons.
        transposed: a column a system.
    """
    folder = evaluation.folder / TABLES
    for name, table in summary_tables(evaluation).items():
        heading = title if name == "dice" else f"{HEADINGS[name][0].upper()}{HEADINGS[name][1:]}"
        lines = printed(table, name, transposed)
        notes = [
            cases_note(table),
            *filter(None, [absence_note(evaluation.scores)]),
            *evaluation.notes,
            *_left_out(evaluation),
        ]
        write_text(as_csv(table), folder / f"{name}.csv")
        write_text(as_markdown(lines, heading, notes), folder / f"{name}.md")
        write_text(as_latex(lines, heading, notes), folder / f"{name}.tex")
    differences = compare(evaluation.scores, names_of(evaluation.systems), metric, against)
    write_text(as_csv(differences), folder / f"{COMPARISONS}.csv")
    notes = comparison_notes(differences, evaluation.systems)
    told = as_markdown(printed_comparisons(differences), f"Differences in {HEADINGS[metric]}", notes)
    write_text(told, folder / f"{COMPARISONS}.md")
    save_json(summary(evaluation), evaluation.folder / SUMMARY)


def summary_tables(evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """Metric to its table; a row a system and what it was trained on, or the contrast of the cases."""
    scores, names = by_contrast(evaluation.scores, names_of(evaluation.systems))
    return {metric: summary_table(scores, names, metric) for metric in METRICS}


def read_comparisons(evaluation_folder: Path) -> pd.DataFrame | None:
    """The differences that `write_tables` wrote; None where there are none."""
    path = evaluation_folder / TABLES / f"{COMPARISONS}.csv"
    text = ("system_a", "data_a", "system_b", "data_b", "structure", "metric")
    return read_table(path, text) if path.is_file() else None


def names_of(systems: Sequence[System]) -> list[tuple[str, str]]:
    return [(system.name, system.data) for system in systems]


def printed_comparisons(differences: pd.DataFrame) -> pd.DataFrame:
    """As text, a row a difference; the significant ones are marked."""
    rows = []
    for row in differences.itertuples():
        interval = f"{_signed(row.mean_difference)} [{_signed(row.low)}, {_signed(row.high)}]"
        p = f"{p_value(row.p_corrected)}{' *' if row.significant else ''}"
        rows.append([row.system_a, row.system_b, row.data_a, row.structure, row.patients, interval, p])
    heads = [
        "Model",
        "Compared with it",
        "Data",
        "Structure",
        "Patients",
        "Mean difference [95 % interval]",
        "p",
    ]
    made = pd.DataFrame(rows, columns=heads)
    return made.drop(columns="Data") if (made["Data"] == "").all() else made


def comparison_notes(differences: pd.DataFrame, systems: Sequence[System]) -> list[str]:
    """How the differences were tested, and what they can and cannot say."""
    if differences.empty:
        return ["No two systems were trained on the same data and have scores of common cases."]
    tests = int(differences["p"].notna().sum())
    notes = [
        "Positive: the second system's value is higher. Differences of a patient's cases are averaged first; "
        f"Wilcoxon's signed-rank test, p corrected after Holm over {tests} tests, * below "
        f"{comparisons.ALPHA}; intervals by bootstrap over patients."
    ]
    metric, dropped = differences["metric"].iloc[0], int(differences["not_compared"].sum())
    if dropped and metric in DISTANCES:
        notes.append(
            f"{dropped} times one of two systems has no {HEADINGS[metric]} of a case, and the case is not "
            "compared. That favours a system that misses what is hard."
        )
    controls = [system.label for system in systems if system.control]
    notes.append(
        f"Controls: {', '.join(controls)}. A difference that a control shows, too, is not the method's."
        if controls
        else "No control was evaluated: a difference may come from more training alone. Name one with "
        "--control, for example stage 1 trained for as many iterations more."
    )
    return notes


def summary(evaluation: Evaluation) -> dict:
    """Of all systems: cases, patients, and a structure's scores and absences."""
    systems = []
    for system in evaluation.systems:
        own = evaluation.of(system)
        structures = {}
        for name in evaluation.structures:
            rows = own[own["structure"] == name]
            scores = {metric: _spread(rows[metric].dropna()) for metric in METRICS}
            found = {key: int((rows["found"] == key).sum()) for key in ("both", "missed", "false", "neither")}
            structures[name] = {**scores, "found": found}
        means = [entry["dice"]["mean"] for entry in structures.values() if entry["dice"]["n"]]
        systems.append(
            {
                "system": system.name,
                "data": system.data,
                "control": system.control,
                "cases": int(own["case"].nunique()),
                "patients": int(own["patient"].nunique()),
                "mDICE": float(np.mean(means)) if means else None,
                "structures": structures,
            }
        )
    return {"systems": systems, "left_out": list(evaluation.left_out), "notes": list(evaluation.notes)}


def _spread(values: pd.Series) -> dict:
    """JSON knows no NaN: what is not known is null."""
    n = len(values)
    return {
        "mean": float(values.mean()) if n else None,
        "sd": float(values.std(ddof=1)) if n > 1 else None,
        "n": n,
    }


def _left_out(evaluation: Evaluation) -> list[str]:
    left_out = len(evaluation.left_out)
    return [f"{left_out} predictions could not be scored and are in no figure above."] if left_out else []


def _signed(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:+.3f}"
