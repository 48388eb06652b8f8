"""The folder that `spinesegdiff evaluate` writes, and that statistics, figures and the report read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import UserError, writing
from ...files import save_json, written_whole
from .plain_tables import read_table

RECORD = "evaluation.json"
SCORES = "scores.csv"
LEVEL_SCORES = "level_scores.csv"
CASES = "cases.csv"
MADE_OF_IT = ("tables/comparisons.csv", "pathology/pathology.json", "figures/figures.json")
"""Records of what other commands make of an evaluation and leave in its folder."""

CASE_COLUMNS = ("system", "data", "fold", "case", "patient", "contrast", "dim")
"""What tells a row's origin, in every table of the folder, all of them text.

`system` and `data` name a `System`; `fold` is empty where a case was in none; `patient` is the case itself
where nothing tells whose it is; `contrast` is "T1w", "T2w" or empty; `dim` is "2D" for a single slice, else
"3D".
"""
SCORE_COLUMNS = (
    *CASE_COLUMNS,
    "structure",
    "dice",
    "jaccard",
    "assd_mm",
    "hd95_mm",
    "true_mm2",
    "predicted_mm2",
    "true_mm3",
    "predicted_mm3",
    "found",
)
"""A row a system, case and structure. `found` is "both", "missed" (only in the label), "false" (only in the
prediction) or "neither". Dice and Jaccard are NaN for "neither", distances in all but "both"; areas are given
for 2D cases and volumes for 3D ones, the others are NaN."""
LEVEL_COLUMNS = (*CASE_COLUMNS, "level", "dice", "true_mm2", "predicted_mm2", "true_mm3", "predicted_mm3")
"""A row a system, case and disc. `level` is SPIDER's "IVD label": 1 is L5/S1, counted towards the head."""
FILE_COLUMNS = ("label", "prediction", "image", "uncertainty")
"""Beside `CASE_COLUMNS` in `CASES`: paths, relative to the folder; empty where there is no such file."""


@dataclass(frozen=True)
class System:
    """A way to segment, a row of the tables.

    Attributes:
        name: for example "SpineSegDiff".
        data: what it was trained on, for example "T1w+T2w"; empty where that was not said.
        control: it is shown to hold others against, not as a proposal.
        seconds_a_case: of a prediction with reading and writing, where known.
        settings: how its masks were predicted, as in `spinesegdiff_args.json`, where known.
    """

    name: str
    data: str = ""
    control: bool = False
    seconds_a_case: float | None = None
    settings: Mapping[str, Any] | None = None

    @property
    def label(self) -> str:
        return f"{self.name} ({self.data})" if self.data else self.name


@dataclass(frozen=True)
class Evaluation:
    """Scores of several systems and where they come from.

    Attributes:
        folder: where it lies.
        structures: name to label value, or to the values whose union is a region; the foreground only.
        systems: in the order in which they were named.
        scores: `SCORE_COLUMNS`.
        cases: `CASE_COLUMNS` and `FILE_COLUMNS`, a row a system and case; files are absolute paths or None.
        level_scores: `LEVEL_COLUMNS`; without rows where no instance labels were given.
        left_out: one line for every case of a system that could not be scored.
        notes: what a reader of the scores must know.
        made_with: version and command.
    """

    folder: Path
    structures: Mapping[str, int | tuple[int, ...]]
    systems: tuple[System, ...]
    scores: pd.DataFrame
    cases: pd.DataFrame
    level_scores: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(LEVEL_COLUMNS)))
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    made_with: Mapping[str, str] = field(default_factory=dict)

    def of(self, system: System) -> pd.DataFrame:
        """The scores of a system."""
        return self.scores[(self.scores["system"] == system.name) & (self.scores["data"] == system.data)]


def forget_evaluation(folder: Path) -> None:
    """Make a folder ready: what was made of an earlier evaluation must not be taken for this one's.

    Raises:
        UserError: it is no folder, or cannot be written.
    """
    with writing(folder, "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (RECORD, *MADE_OF_IT):
            (folder / name).unlink(missing_ok=True)
        with written_whole(folder / RECORD) as temporary:
            temporary.touch()
        (folder / RECORD).unlink()


def write_evaluation(evaluation: Evaluation) -> None:
    """Write all tables, the record last; whoever finds the record finds them whole."""
    folder = evaluation.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    cases = evaluation.cases.copy()
    for column in FILE_COLUMNS:
        # Links are followed before "..", so that the paths hold for whoever reads them.
        cases[column] = [os.path.relpath(path, folder.resolve()) if path else "" for path in cases[column]]
    tables = {SCORES: evaluation.scores, CASES: cases, LEVEL_SCORES: evaluation.level_scores}
    for name, table in tables.items():
        if name == LEVEL_SCORES and table.empty:
            (folder / name).unlink(missing_ok=True)
            continue
        with written_whole(folder / name) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    record = {
        "made_with": dict(evaluation.made_with),
        "structures": dict(evaluation.structures),
        "systems": [asdict(system) for system in evaluation.systems],
        "left_out": list(evaluation.left_out),
        "notes": list(evaluation.notes),
    }
    save_json(record, folder / RECORD)


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Raises:
        UserError: the folder holds no whole evaluation.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        scores = _read(folder / SCORES, SCORE_COLUMNS)
        cases = _read(folder / CASES, (*CASE_COLUMNS, *FILE_COLUMNS))
        levels = folder / LEVEL_SCORES
        more = {"level_scores": _read(levels, LEVEL_COLUMNS)} if levels.exists() else {}
        for column in FILE_COLUMNS:
            paths = [(folder.resolve() / name).resolve() if name else None for name in cases[column]]
            cases[column] = pd.Series(paths, index=cases.index, dtype=object)
        return Evaluation(
            folder,
            {n: tuple(v) if isinstance(v, list) else v for n, v in record["structures"].items()},
            tuple(System(**system) for system in record["systems"]),
            scores,
            cases,
            left_out=tuple(record["left_out"]),
            notes=tuple(record["notes"]),
            made_with=record["made_with"],
            **more,
        )
    except OSError as error:
        missing = Path(str(error.filename)).name
        raise UserError(folder, f"has no {missing}", "make it with spinesegdiff evaluate") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            folder, f"not an evaluation ({error})", "create it again with spinesegdiff evaluate"
        ) from None


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    text = (*CASE_COLUMNS, *FILE_COLUMNS, "structure", "found")
    table = read_table(path, text)
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path.name} lacks {', '.join(missing)}")
    return table[list(columns)]
