"""`spinesegdiff evaluate`: sources to scores, tables and comparisons, in one folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ... import __version__
from ...errors import UserError
from .evaluation_folder import (
    CASE_COLUMNS,
    FILE_COLUMNS,
    LEVEL_COLUMNS,
    SCORE_COLUMNS,
    Evaluation,
    forget_evaluation,
    write_evaluation,
)
from .patients import CaseOrigin, Patients
from .scoring import Scored, Work, score_all
from .sources import READABLE, Case, Source, check_together
from .tables import write_tables


@dataclass(frozen=True)
class Choices:
    """What a user chooses about an evaluation.

    Attributes:
        out: its folder.
        title: of the tables.
        images: folder of the scans; that of the dataset where None.
        cases_csv: tells patient and contrast; that of the dataset where None.
        instances: folder of SPIDER's masks, for scores a disc.
        metric, against: of the comparisons.
        transposed: a column a system.
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

    What cannot be scored is in `Evaluation.left_out`; the others are.

    Raises:
        UserError: nothing could be scored, or a choice does not fit the sources.
    """
    _check(sources, choices)
    forget_evaluation(choices.out)
    patients = Patients(_tables(sources, choices))
    works = [(source, case, patients(case.name)) for source in sources for case in source.cases]
    asked = [_work(source, case, origin, choices) for source, case, origin in works]
    collected = _Collected([line for source in sources for line in source.missing])
    for (source, case, origin), scored in zip(works, score_all(asked, choices.num_processes), strict=True):
        collected.add(source, case, origin, scored, _image(source, case, choices))
    if not collected.scores:
        if not any(choices.out.iterdir()):
            choices.out.rmdir()
        raise UserError(f"no case could be scored: {collected.left_out[0]}")
    evaluation = Evaluation(
        folder=choices.out,
        structures=sources[0].structures,
        systems=tuple(source.system for source in sources),
        scores=pd.DataFrame(collected.scores, columns=list(SCORE_COLUMNS)),
        cases=pd.DataFrame(collected.cases, columns=[*CASE_COLUMNS, *FILE_COLUMNS]),
        level_scores=pd.DataFrame(collected.levels, columns=list(LEVEL_COLUMNS)),
        left_out=tuple(collected.left_out),
        notes=_notes(sources, collected),
        made_with=_made_with(command),
    )
    write_tables(evaluation, choices.title, choices.metric, choices.against, choices.transposed)
    write_evaluation(evaluation)
    return evaluation


class _Collected:
    """Rows of the tables, as the cases come."""

    def __init__(self, left_out: list[str]):
        self.scores: list[dict[str, Any]] = []
        self.levels: list[dict[str, Any]] = []
        self.cases: list[dict[str, Any]] = []
        self.left_out = left_out
        self.without_masks = 0
        self.unnumbered: dict[str, str] = {}
        self.unknown: set[str] = set()

    def add(self, source: Source, case: Case, origin: CaseOrigin, scored: Scored, image: Path | None) -> None:
        if scored.failure:
            self.left_out.append(scored.failure)
            return
        told = (source.system.name, source.system.data, case.fold, case.name, origin.patient, origin.contrast)
        row = dict(zip(CASE_COLUMNS, (*told, scored.dim), strict=True))
        self.scores += [{**row, **score} for score in scored.rows]
        self.levels += [{**row, **level} for level in scored.levels]
        self.without_masks += not scored.dim
        if scored.level_failure:
            self.unnumbered[case.name] = scored.level_failure
        if origin.patient == case.name:
            self.unknown.add(case.name)
        masks = (case.label, case.prediction) if scored.dim else (None, None)
        files = dict(zip(FILE_COLUMNS, (*masks, image, case.uncertainty), strict=True))
        self.cases.append({**row, **files})


def _check(sources: Sequence[Source], choices: Choices) -> None:
    check_together(sources)
    out = choices.out.resolve()
    of_others = {case.prediction.resolve().parent for source in sources for case in source.cases}
    of_others |= {case.label.resolve().parent for source in sources for case in source.cases}
    if out in of_others:
        raise UserError(choices.out, "holds masks or labels", "choose another folder for their evaluation")
    for folder, flag in ((choices.images, "--images"), (choices.instances, "--instances")):
        if folder is not None and not folder.is_dir():
            raise UserError(folder, "not a folder", f"give {flag} a folder")
    if choices.cases_csv is not None and not choices.cases_csv.is_file():
        raise UserError(
            choices.cases_csv, "no such file", "--cases names the cases.csv of spinesegdiff convert"
        )
    if choices.instances is not None and "ivd" not in sources[0].structures:
        raise UserError(
            None, "--instances scores single discs, but no structure is called ivd", "leave it out"
        )
    names = [source.system.name for source in sources]
    if choices.against is not None and choices.against not in names:
        raise UserError(f"--against {choices.against}", "no such system", f"known: {', '.join(names)}")
    data = [source.system.data for source in sources if source.system.name == choices.against]
    if data and not any(s.system.data in data and s.system.name != choices.against for s in sources):
        raise UserError(f"--against {choices.against}", "no other system was trained on the same data")


def _tables(sources: Sequence[Source], choices: Choices) -> list[Path]:
    if choices.cases_csv is not None:
        return [choices.cases_csv]
    beside = {source.dataset / "cases.csv" for source in sources if source.dataset is not None}
    return sorted(path for path in beside if path.is_file())


def _work(source: Source, case: Case, origin: CaseOrigin, choices: Choices) -> Work:
    instances = None
    if choices.instances is not None:
        instances = choices.instances / (
            origin.source or f"{origin.patient}_{origin.contrast.lower()[:2]}.mha"
        )
    return Work(case, source.structures, source.ignore, instances)


def _image(source: Source, case: Case, choices: Choices) -> Path | None:
    """The scan's first channel."""
    folders = [choices.images] if choices.images else []
    if not folders and source.dataset:
        folders = [source.dataset / part for part in ("imagesTr", "imagesTs")]
    names = [f"{case.name}_0000{ending}" for ending in READABLE]
    return next((f / name for f in folders for name in names if (f / name).is_file()), None)


def _notes(sources: Sequence[Source], collected: _Collected) -> tuple[str, ...]:
    notes = [note for source in sources for note in source.notes]
    if collected.unnumbered:
        count, first = len(collected.unnumbered), next(iter(collected.unnumbered.values()))
        notes.append(f"{count} cases have no scores of their discs; the first one's reason: {first}.")
    if collected.unknown:
        notes.append(
            f"{len(collected.unknown)} cases, whose patient is unknown, count as a patient each; a table "
            "with case and patient (--cases) states it."
        )
    if collected.without_masks:
        notes.append(
            f"{collected.without_masks} cases have no masks where summary.json states: their overlap is "
            "nnU-Net's, their geometry was not checked, and they have no distances and sizes."
        )
    scored = pd.DataFrame(collected.cases, columns=list(CASE_COLUMNS))
    sizes = scored.groupby(["system", "data"])["case"].nunique()
    counts = {s.system.label: sizes.get((s.system.name, s.system.data), 0) for s in sources}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        notes.append(
            f"Systems differ in the number of their cases ({told}); differences are over common cases."
        )
    return tuple(notes)


def _made_with(command: str) -> dict[str, str]:
    packages = ("nnunetv2", "torch", "monai", "scipy", "statsmodels", "SimpleITK")
    return {
        "command": command,
        "spinesegdiff": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        **{name: version(name) for name in packages},
    }
