"""The folder that `spinesegdiff evaluate` writes, and that statistics, figures and the report read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import UserError, writing
from ...files import written_whole
from ...uncertainty.confidence import Structures
from ..columns import METRICS, SIZES, Name, label_of, rows_of
from .plain_tables import read_table, reading_results, write_results

RECORD = "evaluation.json"
SCORES = "scores.csv"
LEVEL_SCORES = "level_scores.csv"
INSTANCES = "instances.csv"
CASES = "cases.csv"
MADE_OF_IT = ("tables/comparisons.csv", "pathology/pathology.json", "figures/figures.json")
"""What other commands write into the folder of an evaluation."""

CASE_COLUMNS = ("system", "data", "fold", "case", "patient", "contrast", "dim")
"""Of every table of the folder, all of them text.

`system` and `data` name a `System`; `fold` is empty where a case was in none; `patient` is the case itself
where it is unknown; `contrast` is "T1w", "T2w" or empty; `dim` is "2D" for a single slice, else "3D".
"""
SCORE_COLUMNS = (*CASE_COLUMNS, "structure", *METRICS, *SIZES, "found")
"""One row per system, case and structure. `found` is "both", "missed" (only in the label), "false" (only in
the prediction) or "neither". Dice and Jaccard are NaN for "neither", distances in all but "both"; areas are
given for 2D cases and volumes for 3D ones, the others are NaN."""
LEVEL_COLUMNS = (*CASE_COLUMNS, "level", "dice", *SIZES)
"""One row per system, case and disc. `level` is SPIDER's "IVD label": 1 is L5/S1, counted upwards."""
_no_levels = partial(pd.DataFrame, columns=list(LEVEL_COLUMNS))
INSTANCE_COLUMNS = (
    *(*CASE_COLUMNS, "structure", "number", "level_name", "predicted_number", "number_right"),
    *("dice", "jaccard", *SIZES, "found"),
)
"""One row per system, case and single vertebra or disc, in SPIDER's numbers. `found` is "both" (matched),
"missed" or "false"; a row of the latter has no `number`."""
_no_instances = partial(pd.DataFrame, columns=list(INSTANCE_COLUMNS))
FILE_COLUMNS = ("label", "prediction", "image", "uncertainty")
"""Of `CASES`, after `CASE_COLUMNS`: paths, relative to the folder; empty if the file does not exist."""


@dataclass(frozen=True)
class System:
    """A way to segment, one row of the tables.

    Attributes:
        name: for example "SpineSegDiff".
        data: what it was trained on, for example "T1w+T2w"; empty where unknown.
        control: others are compared with it; it is not a proposal itself.
        seconds_a_case: of a prediction with reading and writing, where known.
        settings: how its masks were predicted, as in `spinesegdiff_args.json`, where known.
    """

    name: str
    data: str = ""
    control: bool = False
    seconds_a_case: float | None = None
    settings: Mapping[str, Any] | None = None

    @property
    def key(self) -> Name:
        return self.name, self.data

    @property
    def label(self) -> str:
        return label_of(self.key)


@dataclass(frozen=True)
class Evaluation:
    """Scores of several systems and where they come from.

    Attributes:
        folder: that holds it.
        structures: name to label value, or to the values whose union is a region; the foreground only.
        systems: in the order in which they were named.
        scores: `SCORE_COLUMNS`.
        cases: `CASE_COLUMNS` and `FILE_COLUMNS`, one row per system and case; paths are absolute or None.
        level_scores: `LEVEL_COLUMNS`; without rows where no instance labels were given.
        instances: `INSTANCE_COLUMNS`; also without rows there.
        left_out: one line for every case of a system that could not be scored.
        notes: what a reader of the scores must know.
        made_with: version and command.
    """

    folder: Path
    structures: Structures
    systems: tuple[System, ...]
    scores: pd.DataFrame
    cases: pd.DataFrame
    level_scores: pd.DataFrame = field(default_factory=_no_levels)
    instances: pd.DataFrame = field(default_factory=_no_instances)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    made_with: Mapping[str, str] = field(default_factory=dict)

    def of(self, system: System) -> pd.DataFrame:
        """The scores of a system."""
        return rows_of(self.scores, system.key)

    @property
    def keys(self) -> list[Name]:
        return [system.key for system in self.systems]

    @property
    def proposed(self) -> tuple[System, ...]:
        """The systems that are not controls; all of them where there is none."""
        return tuple(system for system in self.systems if not system.control) or self.systems


def systems_called(name: str, systems: Sequence[System]) -> list[System]:
    """The system with this label, or those with this name and any data.

    Raises:
        UserError: there is none.
    """
    found = [system for system in systems if system.label == name]
    found = found or [system for system in systems if system.name == name]
    if not found:
        raise UserError(name, "no such system", f"known: {', '.join(system.label for system in systems)}")
    return found


def forget_evaluation(folder: Path) -> None:
    """Create the folder, and remove what was made of an earlier evaluation in it.

    Raises:
        UserError: it is not a folder, or cannot be written.
    """
    with writing(folder, "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (RECORD, *MADE_OF_IT):
            (folder / name).unlink(missing_ok=True)
        with written_whole(folder / RECORD) as temporary:
            temporary.touch()
        (folder / RECORD).unlink()


def write_evaluation(evaluation: Evaluation) -> None:
    """Write all tables, the record last."""
    folder = evaluation.folder
    cases = evaluation.cases.copy()
    for column in FILE_COLUMNS:
        # Links are followed before "..", so that the paths hold for whoever reads them.
        cases[column] = [os.path.relpath(path, folder.resolve()) if path else "" for path in cases[column]]
    single = {LEVEL_SCORES: evaluation.level_scores, INSTANCES: evaluation.instances}
    some = {name: None if table.empty else table for name, table in single.items()}
    tables = {SCORES: evaluation.scores, CASES: cases, **some}
    record = {
        "made_with": dict(evaluation.made_with),
        "structures": dict(evaluation.structures),
        "systems": [asdict(system) for system in evaluation.systems],
        "left_out": list(evaluation.left_out),
        "notes": list(evaluation.notes),
    }
    write_results(folder, tables, RECORD, record)


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Raises:
        UserError: the folder holds no complete evaluation.
    """
    with reading_results(folder, "evaluate"):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        cases = read_table(folder / CASES, (*CASE_COLUMNS, *FILE_COLUMNS))
        for column in FILE_COLUMNS:
            paths = [(folder.resolve() / name).resolve() if name else None for name in cases[column]]
            cases[column] = pd.Series(paths, index=cases.index, dtype=object)
        levels, instances = folder / LEVEL_SCORES, folder / INSTANCES
        return Evaluation(
            folder,
            {n: tuple(v) if isinstance(v, list) else v for n, v in record["structures"].items()},
            tuple(System(**system) for system in record["systems"]),
            read_table(folder / SCORES, SCORE_COLUMNS),
            cases,
            read_table(levels, LEVEL_COLUMNS) if levels.exists() else _no_levels(),
            read_table(instances, INSTANCE_COLUMNS) if instances.exists() else _no_instances(),
            left_out=tuple(record["left_out"]),
            notes=tuple(record["notes"]),
            made_with=record["made_with"],
        )
