"""The tables of an evaluation as files: scores a system, by contrast, and differences between systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...files import save_json
from ...pages.cells import p_value, with_interval
from ..columns import FOUND, METRICS
from ..comparisons import ALPHA, METHOD, NO_CONTROL, compare, not_compared_note
from ..instances import (
    LEVEL_DICE,
    LEVEL_METHOD,
    PANOPTIC,
    PANOPTIC_METHOD,
    level_table,
    panoptic_table,
    printed_levels,
    printed_panoptic,
)
from ..summary_tables import (
    HEADINGS,
    TITLES,
    absence_note,
    as_csv,
    as_latex,
    as_markdown,
    by_contrast,
    cases_note,
    printed,
    summary_table,
    without_empty,
)
from .evaluation_folder import Evaluation
from .plain_tables import read_table, write_text

TABLES = "tables"
SUMMARY = "scores.json"
COMPARISONS = "comparisons"
INSTANCE_TABLES = {
    PANOPTIC: ("Panoptic quality of single vertebrae and discs", PANOPTIC_METHOD),
    LEVEL_DICE: ("Dice of every level", LEVEL_METHOD),
}
"""Name to heading and note."""
HEADS = (
    *("Model", "Compared with it", "Data", "Structure", "Patients"),
    *("Mean difference [95 % interval]", "p"),
)


def write_tables(
    evaluation: Evaluation,
    title: str,
    metric: str = "dice",
    against: str | None = None,
    transposed: bool = False,
) -> None:
    """Write `tables/<metric>.csv`, `.md` and `.tex` for all metrics, the same of single vertebrae and discs,
    `tables/comparisons.csv` and `.md`, and `scores.json`.

    Args:
        title: of the table of Dice; the others are named after their metric.
        metric, against: of the comparisons.
        transposed: one column per system.
    """
    folder = evaluation.folder / TABLES
    shared = [absence_note(evaluation.scores), *evaluation.notes]
    if left_out := len(evaluation.left_out):
        shared.append(f"{left_out} predictions could not be scored and are in no figure above.")
    for name, table in summary_tables(evaluation).items():
        heading = title if name == "dice" else TITLES[name]
        lines = printed(table, name, transposed)
        notes = [cases_note(table), *filter(None, shared)]
        _write_table(folder / name, table, lines, heading, notes)
    single = instance_tables(evaluation)
    for name, (heading, note) in INSTANCE_TABLES.items():
        if single:
            table, lines = single[name]
            _write_table(folder / name, table, lines, heading, [note, *filter(None, evaluation.notes)])
        else:
            for ending in ("csv", "md", "tex"):
                (folder / f"{name}.{ending}").unlink(missing_ok=True)
    differences = compare(evaluation.scores, evaluation.keys, metric, against)
    controls = [system.label for system in evaluation.systems if system.control]
    page = as_markdown(
        printed_comparisons(differences),
        f"Differences in {HEADINGS[metric]}",
        comparison_notes(differences, controls),
    )
    write_text(as_csv(differences), folder / f"{COMPARISONS}.csv")
    write_text(page, folder / f"{COMPARISONS}.md")
    save_json(summary(evaluation), evaluation.folder / SUMMARY)


def _write_table(
    stem: Path, table: pd.DataFrame, lines: pd.DataFrame, heading: str, notes: Sequence[str]
) -> None:
    write_text(as_csv(table), stem.with_suffix(".csv"))
    write_text(as_markdown(lines, heading, notes), stem.with_suffix(".md"))
    write_text(as_latex(lines, heading, notes), stem.with_suffix(".tex"))


def instance_tables(evaluation: Evaluation) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """The tables of single vertebrae and discs and their printed cells, by `INSTANCE_TABLES`; or none."""
    if evaluation.instances.empty:
        return {}
    instances, names = by_contrast(evaluation.instances, evaluation.keys)
    quality, levels = panoptic_table(instances, names), level_table(instances, names)
    return {PANOPTIC: (quality, printed_panoptic(quality)), LEVEL_DICE: (levels, printed_levels(levels))}


def summary_tables(evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """Metric to its table; one row per system and what it was trained on, or the contrast of the cases."""
    scores, names = by_contrast(evaluation.scores, evaluation.keys)
    return {metric: summary_table(scores, names, metric) for metric in METRICS}


def read_comparisons(evaluation_folder: Path) -> pd.DataFrame | None:
    """The differences that `write_tables` wrote; None where there are none."""
    path = evaluation_folder / TABLES / f"{COMPARISONS}.csv"
    return read_table(path) if path.is_file() else None


def printed_comparisons(differences: pd.DataFrame) -> pd.DataFrame:
    """Cells, one row per difference; the significant ones are marked."""
    rows = []
    for row in differences.itertuples():
        interval = with_interval(row.mean_difference, row.low, row.high, 3, signed=True)
        p = f"{p_value(row.p_corrected)}{' *' if row.significant else ''}"
        rows.append([row.system_a, row.system_b, row.data_a, row.structure, row.patients, interval, p])
    return without_empty(pd.DataFrame(rows, columns=list(HEADS)))


def comparison_notes(differences: pd.DataFrame, controls: Sequence[str]) -> list[str]:
    """Notes on how differences were tested and on what they can show."""
    if differences.empty:
        return ["No two systems were trained on the same data and have scores of common cases."]
    shown = f"Controls: {', '.join(controls)}. A difference that a control shows, too, is not the method's."
    notes = [
        f"Positive: the second system's value is higher. {METHOD} * below {ALPHA}.",
        not_compared_note(differences),
        shown if controls else NO_CONTROL,
    ]
    return list(filter(None, notes))


def summary(evaluation: Evaluation) -> dict:
    """Summarize all systems: cases, patients, scores and absences per structure; NaN becomes None."""
    systems = []
    for system in evaluation.systems:
        own = evaluation.of(system)
        structures = {}
        for name, rows in own.groupby("structure", sort=False):
            found = {key: int((rows["found"] == key).sum()) for key in FOUND.values()}
            structures[name] = {**{m: _spread(rows[m]) for m in METRICS}, "found": found}
        dice = own.groupby("structure")["dice"].mean().mean()
        systems.append(
            {
                "system": system.name,
                "data": system.data,
                "control": system.control,
                "cases": int(own["case"].nunique()),
                "patients": int(own["patient"].nunique()),
                "mDICE": None if pd.isna(dice) else float(dice),
                "structures": structures,
            }
        )
    return {"systems": systems, "left_out": list(evaluation.left_out), "notes": list(evaluation.notes)}


def _spread(values: pd.Series) -> dict[str, float | None]:
    spread = values.agg({"mean": "mean", "sd": "std", "n": "count"})
    known = {name: None if pd.isna(value) else float(value) for name, value in spread.items()}
    return {**known, "n": int(spread["n"])}
