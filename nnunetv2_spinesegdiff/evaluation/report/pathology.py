"""What `spinesegdiff pathology` does: scores and radiological gradings to tests, in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ...dataset_conversion.names import canonical_patient
from ...errors import UserError
from ...files import save_json
from ...text import reason_of
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
from .evaluation_folder import Evaluation, System, read_evaluation
from .pathology_text import as_markdown, notes_of
from .plain_tables import read_table, read_text_table, write_csv, write_text

RECORD = "pathology.json"
TABLE = "pathology.csv"
LEVELS = "levels.csv"
VALUES = "patient_scores.csv"
TEXT = "pathology.md"
FOLDER = "pathology"
"""Within the folder of the evaluation, where no other is named."""


@dataclass(frozen=True)
class Pathology:
    """Tests of findings against scores.

    Attributes:
        folder: where it lies.
        table: `evaluation.pathology.PATHOLOGY_COLUMNS`, a row a system, finding and structure.
        values: the patients' scores behind `table`: `system`, `data`, `structure`, `patient`, `dice`, and a
            column a finding, nullable boolean.
        levels: `evaluation.pathology.LEVEL_COLUMNS`; without rows where discs have no scores of their own.
        notes: sentences that a reader of the tables must know.
        settings: `pfirrmann`, `mixed`, `fewest`, `systems` (labels), `tests`, `not_made`, `level_tests`,
            `levels_not_made`, `skipped_dice`, `missing_columns`, `without_gradings` and `without_scores`
            (patients).
    """

    folder: Path
    table: pd.DataFrame
    values: pd.DataFrame
    levels: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(LEVEL_COLUMNS)))
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
    """Test whether Dice differs between patients with and without each finding, and write what comes out.

    Args:
        evaluation_folder: of `spinesegdiff evaluate`.
        gradings: SPIDER's radiological_gradings.csv, or a table like it.
        out: folder for the tables; `pathology` in that of the evaluation where it is None.
        pfirrmann: lowest grade that counts as degeneration, 2 to 5.
        mixed: a linear mixed model of all cases instead of Welch's t-test of the patients' means.
        systems: names or labels of those to test; all where it is None. More systems make a larger family.
        fewest: patients in each group of a test, at least 2. What has fewer is told and not tested.

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
    chosen = _choose(evaluation, systems)
    scores, level_scores = (_of(table, chosen) for table in (evaluation.scores, evaluation.level_scores))
    matching = _match(scores, graded, evaluation_folder, gradings)
    patients = graded.by_patient
    table = patient_tests(scores, patients, mixed, fewest)
    levels = level_tests(_whole_levels(level_scores), graded.by_level, fewest)
    settings: dict[str, Any] = {
        "pfirrmann": pfirrmann,
        "mixed": mixed,
        "fewest": fewest,
        "systems": [system.label for system in chosen],
        "tests": int(table["p"].notna().sum()),
        "not_made": int(table["p"].isna().sum()),
        "level_tests": int(levels["p"].notna().sum()),
        "levels_not_made": int(levels["p"].isna().sum()),
        "skipped_dice": {
            str(k): int(n) for k, n in scores["dice"].isna().groupby(scores["structure"]).sum().items()
        },
        "missing_columns": list(graded.missing),
        **matching,
    }
    notes = notes_of(table, levels, scores, level_scores, graded, settings, evaluation.left_out)
    values = with_findings(patient_means(scores, "structure"), patients)
    done = Pathology(out or evaluation_folder / FOLDER, table, values, levels, tuple(notes), settings)
    _write(done)
    return done


def read_pathology(folder: Path) -> Pathology:
    """Read what `run_pathology` wrote.

    Raises:
        UserError: the folder holds no whole result.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        table = _read(folder / TABLE, PATHOLOGY_COLUMNS)
        values = _read(folder / VALUES, ("system", "data", "structure", "patient", "dice"))
        for finding in values.columns[5:]:
            values[finding] = values[finding].astype("boolean")
        levels = folder / LEVELS
        more = {"levels": _read(levels, LEVEL_COLUMNS)} if levels.exists() else {}
        return Pathology(
            folder, table, values, notes=tuple(record["notes"]), settings=record["settings"], **more
        )
    except OSError as error:
        missing = Path(str(error.filename)).name
        raise UserError(folder, f"has no {missing}", "make it with spinesegdiff pathology") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            folder, f"cannot be read ({reason_of(error)})", "make it again with spinesegdiff pathology"
        ) from None


def _choose(evaluation: Evaluation, names: Sequence[str] | None) -> list[System]:
    if names is None:
        return list(evaluation.systems)
    chosen = [s for s in evaluation.systems if {s.name, s.label} & set(names)]
    found = {name for system in chosen for name in (system.name, system.label)}
    if unknown := [name for name in names if name not in found]:
        known = ", ".join(system.label for system in evaluation.systems)
        raise UserError(evaluation.folder, f"has no system {unknown[0]}", f"choose from {known}")
    return chosen


def _of(table: pd.DataFrame, systems: Sequence[System]) -> pd.DataFrame:
    keys = {(system.name, system.data) for system in systems}
    mine = [key in keys for key in zip(table["system"], table["data"], strict=True)]
    chosen = table[pd.Series(mine, index=table.index, dtype=bool)].copy()
    chosen["patient"] = chosen["patient"].map(canonical_patient)
    return chosen


def _whole_levels(level_scores: pd.DataFrame) -> pd.DataFrame:
    return level_scores.astype({"level": "int64", "dice": float})


def _match(scores: pd.DataFrame, graded: Gradings, evaluation: Path, gradings: Path) -> dict[str, list[str]]:
    scored, known = (list(dict.fromkeys(column)) for column in (scores["patient"], graded.discs["patient"]))
    if not set(scored) & set(known):
        examples = f"{scored[0]!r} there, {known[0]!r} here" if scored else "there are no scores"
        raise UserError(
            gradings, f"grades no patient of {evaluation} ({examples})", "give gradings of its patients"
        )
    return {
        "without_gradings": [patient for patient in scored if patient not in set(known)],
        "without_scores": [patient for patient in known if patient not in set(scored)],
    }


def _write(done: Pathology) -> None:
    folder = done.folder
    folder.mkdir(parents=True, exist_ok=True)
    # The record is written last: whoever finds it finds the tables whole.
    (folder / RECORD).unlink(missing_ok=True)
    write_csv(done.table, folder / TABLE)
    write_csv(done.values, folder / VALUES)
    if done.levels.empty:
        (folder / LEVELS).unlink(missing_ok=True)
    else:
        write_csv(done.levels, folder / LEVELS)
    write_text(as_markdown(done.table, done.levels, done.notes), folder / TEXT)
    save_json({"settings": dict(done.settings), "notes": list(done.notes)}, folder / RECORD)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = read_table(path, ("system", "data", "finding", "structure", "patient", "test", "fit", "reason"))
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path.name} lacks {', '.join(missing)}")
    return table
