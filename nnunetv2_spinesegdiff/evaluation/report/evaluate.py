"""`spinesegdiff evaluate`: sources to scores, tables and comparisons, in one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import UserError
from ..columns import rows_of
from ..instances import NUMBERS
from .evaluation_folder import (
    CASE_COLUMNS,
    FILE_COLUMNS,
    INSTANCE_COLUMNS,
    LEVEL_COLUMNS,
    SCORE_COLUMNS,
    Evaluation,
    forget_evaluation,
    write_evaluation,
)
from .patients import CaseOrigin, Patients
from .provenance import versions
from .scoring import Work, score_all
from .sources import READABLE, Case, Source, check_together
from .tables import write_tables


@dataclass(frozen=True)
class Choices:
    """What a user chooses about an evaluation.

    Attributes:
        out: its folder.
        title: of the tables.
        images: folder of the scans, None for that of the dataset.
        cases_csv: table of patients and contrasts, None for that of the dataset.
        instances: folder of masks with SPIDER's numbers, for scores of single vertebrae and discs.
        metric, against: of the comparisons.
        transposed: one column per system.
        num_processes: for many cases.
    """

    out: Path
    title: str = "Dice of the structures"
    images: Path | None = None
    cases_csv: Path | None = None
    instances: Path | None = None
    metric: str = "dice"
    against: str | None = None
    transposed: bool = False
    num_processes: int = 1


def run_evaluation(sources: Sequence[Source], choices: Choices, command: str) -> Evaluation:
    """Score all cases, write the folder and its tables.

    Cases that cannot be scored are listed in `Evaluation.left_out`.

    Raises:
        UserError: nothing could be scored, or a choice does not fit the sources.
    """
    _check(sources, choices)
    patients = Patients(_tables(sources, choices))
    forget_evaluation(choices.out)
    pairs = [(source, case) for source in sources for case in source.cases]
    works = [_work(source, case, patients(case.name), choices) for source, case in pairs]
    scores: list[dict[str, Any]] = []
    levels: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    cases: list[dict[str, Any]] = []
    left_out = [line for source in sources for line in source.missing]
    unnumbered = {}
    for (source, case), scored in zip(pairs, score_all(works, choices.num_processes), strict=True):
        if scored.failure:
            left_out.append(scored.failure)
            continue
        origin = patients(case.name)
        origins = (*source.system.key, case.fold, case.name, origin.patient, origin.contrast, scored.dim)
        row = dict(zip(CASE_COLUMNS, origins, strict=True))
        scores += [{**row, **score} for score in scored.rows]
        levels += [{**row, **level} for level in scored.levels]
        instances += [{**row, **instance} for instance in scored.instances]
        masks = (case.label, case.prediction) if scored.dim else (None, None)
        files = (*masks, _image(source, case, choices), case.uncertainty)
        cases.append({**row, **dict(zip(FILE_COLUMNS, files, strict=True))})
        if scored.level_failure:
            unnumbered[case.name] = scored.level_failure
    if not scores:
        if not any(choices.out.iterdir()):
            choices.out.rmdir()
        raise UserError("no case could be scored", left_out[0])
    case_table = pd.DataFrame(cases, columns=[*CASE_COLUMNS, *FILE_COLUMNS])
    evaluation = Evaluation(
        folder=choices.out,
        structures=sources[0].structures,
        systems=tuple(source.system for source in sources),
        scores=pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        cases=case_table,
        level_scores=pd.DataFrame(levels, columns=list(LEVEL_COLUMNS)),
        instances=pd.DataFrame(instances, columns=list(INSTANCE_COLUMNS)),
        left_out=tuple(left_out),
        notes=_notes(sources, case_table, unnumbered),
        made_with={"command": command, **versions()},
    )
    write_tables(evaluation, choices.title, choices.metric, choices.against, choices.transposed)
    write_evaluation(evaluation)
    return evaluation


def _check(sources: Sequence[Source], choices: Choices) -> None:
    check_together(sources)
    files = [path for source in sources for case in source.cases for path in (case.prediction, case.label)]
    if choices.out.resolve() in {path.resolve().parent for path in files}:
        raise UserError(choices.out, "holds masks or labels", "choose another folder for their evaluation")
    for folder, flag in ((choices.images, "--images"), (choices.instances, "--instances")):
        if folder is not None and not folder.is_dir():
            raise UserError(folder, "not a folder", f"give {flag} a folder")
    if choices.instances is not None and not set(NUMBERS) & set(sources[0].structures):
        raise UserError("--instances", f"needs a structure called {' or '.join(NUMBERS)}", "leave it out")
    if choices.against is not None:
        flag, systems = f"--against {choices.against}", [source.system for source in sources]
        data = {system.data for system in systems if system.name == choices.against}
        if not data:
            raise UserError(flag, "no such system", f"known: {', '.join(system.name for system in systems)}")
        if not any(system.data in data for system in systems if system.name != choices.against):
            raise UserError(flag, "no other system was trained on the same data")


def _tables(sources: Sequence[Source], choices: Choices) -> list[Path]:
    if choices.cases_csv is not None:
        return [choices.cases_csv]
    beside = {source.dataset / "cases.csv" for source in sources if source.dataset is not None}
    return sorted(path for path in beside if path.is_file())


def _work(source: Source, case: Case, origin: CaseOrigin, choices: Choices) -> Work:
    instances = None
    if source.numbered:
        instances = case.label
    elif choices.instances is not None:
        series = origin.source or f"{origin.patient}_{origin.contrast.lower()[:2]}.mha"
        own = (choices.instances / f"{case.name}{ending}" for ending in READABLE)
        instances = next(filter(Path.is_file, own), choices.instances / series)
    return Work(case, source.structures, source.ignore, instances, source.numbered)


def _image(source: Source, case: Case, choices: Choices) -> Path | None:
    """The scan's first channel."""
    folders = [choices.images] if choices.images else []
    if not folders and source.dataset:
        folders = [source.dataset / part for part in ("imagesTr", "imagesTs")]
    names = [f"{case.name}_0000{ending}" for ending in READABLE]
    return next((f / name for f in folders for name in names if (f / name).is_file()), None)


def _notes(sources: Sequence[Source], cases: pd.DataFrame, unnumbered: Mapping[str, str]) -> tuple[str, ...]:
    notes = [note for source in sources for note in source.notes]
    if unnumbered:
        count, first = len(unnumbered), next(iter(unnumbered.values()))
        notes.append(
            f"{count} cases lack scores of single vertebrae or discs; the first one's reason: {first}."
        )
    if unknown := cases.loc[cases["patient"] == cases["case"], "case"].nunique():
        notes.append(
            f"{unknown} cases, whose patient is unknown, count as one patient each; give --cases a table "
            "with case and patient."
        )
    if without := int((cases["dim"] == "").sum()):
        notes.append(
            f"{without} cases have no masks at the paths of summary.json: their overlap is nnU-Net's, their "
            "geometry was not checked, and they have no distances and sizes."
        )
    counts = {s.system.label: rows_of(cases, s.system.key)["case"].nunique() for s in sources}
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        notes.append(
            f"Systems differ in the number of their cases ({each}); differences are over common cases."
        )
    return tuple(notes)
