"""`spinesegdiff pathology`: tests from scores and radiological gradings, written to a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ...dataset_conversion.names import canonical_patient
from ...errors import UserError
from ..findings import Gradings, gradings_of
from ..group_tests import FEWEST
from ..pathology import (
    LEVEL_COLUMNS,
    PATHOLOGY_COLUMNS,
    level_tests,
    patient_means,
    patient_tests,
    with_findings,
)
from .evaluation_folder import System, read_evaluation, systems_called
from .pathology_text import as_markdown, notes_of
from .plain_tables import read_table, read_text_table, reading_results, write_results

RECORD = "pathology.json"
TABLE = "pathology.csv"
LEVELS = "levels.csv"
VALUES = "patient_scores.csv"
TEXT = "pathology.md"
FOLDER = "pathology"
"""The default, in the folder of the evaluation."""


_no_levels = partial(pd.DataFrame, columns=list(LEVEL_COLUMNS))
VALUE_COLUMNS = ("system", "data", "structure", "patient", "dice")


@dataclass(frozen=True)
class Pathology:
    """Tests of findings against scores.

    Attributes:
        folder: that holds it.
        table: `evaluation.pathology.PATHOLOGY_COLUMNS`, one row per system, finding and structure.
        values: the patients' scores behind `table`: `VALUE_COLUMNS`, and one column per finding, nullable
            boolean.
        levels: `evaluation.pathology.LEVEL_COLUMNS`; without rows where discs have no scores of their own.
        notes: sentences that a reader of the tables must know.
        settings: `pfirrmann`, `mixed`, `fewest`, `systems` (labels), `tests`, `not_made`, `level_tests`,
            `levels_not_made`, `skipped_dice`, `missing_columns`, `without_gradings` and `without_scores`
            (patients).
    """

    folder: Path
    table: pd.DataFrame
    values: pd.DataFrame
    levels: pd.DataFrame = field(default_factory=_no_levels)
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def run_pathology(
    evaluation_folder: Path,
    gradings: Path,
    out: Path | None = None,
    *,
    pfirrmann: int = 4,
    mixed: bool = False,
    systems: Sequence[str] | None = None,
    fewest: int = FEWEST,
) -> Pathology:
    """Test whether Dice differs between patients with and without each finding, and write the results.

    Args:
        evaluation_folder: of `spinesegdiff evaluate`.
        gradings: SPIDER's radiological_gradings.csv, or a table like it.
        out: folder for the tables; None for `pathology` in that of the evaluation.
        pfirrmann: lowest grade that counts as degeneration, 2 to 5.
        mixed: a linear mixed model of all cases instead of Welch's t-test of the patients' means.
        systems: names or labels of those to test, or None for all. More systems make a larger family.
        fewest: patients in each group of a test, at least 2. Smaller groups are listed and not tested.

    Raises:
        UserError: one of the inputs cannot be used, a system is unknown, no patient is in both, or `fewest`
            is too small.
    """
    if fewest < 2:
        raise UserError(
            f"groups of {fewest} patients", "cannot be tested", "give 2 or more patients per group"
        )
    evaluation = read_evaluation(evaluation_folder)
    graded = gradings_of(read_text_table(gradings), str(gradings), pfirrmann)
    asked = [system for name in systems or () for system in systems_called(name, evaluation.systems)]
    chosen = [system for system in evaluation.systems if systems is None or system in asked]
    scores, level_scores = (_rows(table, chosen) for table in (evaluation.scores, evaluation.level_scores))
    matching = _match(scores, graded, evaluation_folder, gradings)
    patients = graded.by_patient
    table = patient_tests(scores, patients, mixed, fewest)
    # Without any row the columns have no type.
    level_scores = level_scores.astype({"level": "int64", "dice": float})
    levels = level_tests(level_scores, graded.by_level, fewest)
    settings: dict[str, Any] = {
        "pfirrmann": pfirrmann,
        "mixed": mixed,
        "fewest": fewest,
        "systems": [system.label for system in chosen],
        "tests": int(table["p"].notna().sum()),
        "not_made": int(table["p"].isna().sum()),
        "level_tests": int(levels["p"].notna().sum()),
        "levels_not_made": int(levels["p"].isna().sum()),
        "skipped_dice": scores["dice"].isna().groupby(scores["structure"]).sum().to_dict(),
        "missing_columns": list(graded.missing),
        **matching,
    }
    notes = notes_of(table, levels, scores, level_scores, graded, settings, evaluation.left_out)
    values = with_findings(patient_means(scores, "structure"), patients)
    done = Pathology(out or evaluation_folder / FOLDER, table, values, levels, tuple(notes), settings)
    write_pathology(done)
    return done


def write_pathology(done: Pathology) -> None:
    """Write the tables, the page of Markdown and the record."""
    files = {
        TABLE: done.table,
        VALUES: done.values,
        LEVELS: None if done.levels.empty else done.levels,
        TEXT: as_markdown(done.table, done.levels, done.notes),
    }
    write_results(done.folder, files, RECORD, {"settings": dict(done.settings), "notes": list(done.notes)})


def read_pathology(folder: Path) -> Pathology:
    """Read what `run_pathology` wrote.

    Raises:
        UserError: the folder holds no complete result.
    """
    with reading_results(folder, "pathology"):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        table = read_table(folder / TABLE, PATHOLOGY_COLUMNS)
        values = read_table(folder / VALUES, VALUE_COLUMNS)
        findings = values.columns[len(VALUE_COLUMNS) :]
        values = values.astype(dict.fromkeys(findings, "boolean"))
        levels = folder / LEVELS
        found = read_table(levels, LEVEL_COLUMNS) if levels.exists() else _no_levels()
        return Pathology(folder, table, values, found, tuple(record["notes"]), record["settings"])


def pathology_of(evaluation_folder: Path) -> Pathology | None:
    """The results in the default folder, None where there are none."""
    folder = evaluation_folder / FOLDER
    return read_pathology(folder) if (folder / RECORD).is_file() else None


def _rows(table: pd.DataFrame, systems: Sequence[System]) -> pd.DataFrame:
    names = pd.MultiIndex.from_frame(table[["system", "data"]])
    chosen = table[names.isin([system.key for system in systems])]
    return chosen.assign(patient=chosen["patient"].map(canonical_patient))


def _match(scores: pd.DataFrame, graded: Gradings, evaluation: Path, gradings: Path) -> dict[str, list[str]]:
    scored, known = pd.Index(scores["patient"].unique()), pd.Index(graded.discs["patient"].unique())
    if scored.intersection(known).empty:
        examples = f"{scored[0]!r} there, {known[0]!r} here" if len(scored) else "there are no scores"
        cause = f"grades no patient of {evaluation} ({examples})"
        raise UserError(gradings, cause, "give gradings of its patients")
    return {
        "without_gradings": scored.difference(known, sort=False).tolist(),
        "without_scores": known.difference(scored, sort=False).tolist(),
    }
