"""Figures of cases: which are shown, of whom the uncertainty, and their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...images.nifti import comment_of
from ...measures import ENTROPY, MEASURES, VARIANCE, Measure
from ...plots.cases import CaseRow, draw_cases
from ..summary_tables import case_means
from .evaluation_folder import Evaluation, System
from .figures_folder import FigureEntry, counted, left_out, titled
from .slices import NoPicture, files_of, read_slices

TRUTH = "truth"


def cases_figure(
    evaluation: Evaluation,
    systems: Sequence[System],
    judge: System,
    named: Sequence[str] | None,
    worst: int,
    path: Path,
) -> list[FigureEntry | str]:
    """Draw cases of systems that were trained on the same data, with a note for everything that is missing.

    Args:
        systems: one column each.
        judge: whose worst cases and whose uncertainty are shown by default.
        named: cases to show, in their order; None for the worst.
        worst: how many of them.
        path: of the PNG.
    """
    figure = titled("cases", judge.data)
    chosen = case_means(evaluation.of(judge)).dropna().index[:worst].tolist() if named is None else named
    sure = _sure(evaluation, systems, judge, chosen)
    notes: list[FigureEntry | str] = []
    rows = []
    for case in chosen:
        try:
            row, remarks = _row(evaluation, systems, case, sure)
        except NoPicture as error:
            notes.append(f"{figure}: without {case}, because {error}")
            continue
        rows.append(row)
        notes += [f"{figure}, {case}: {remark}" for remark in remarks]
    if not rows:
        return [*notes, left_out("cases", judge.data, "no case to show")]
    table = evaluation.cases[evaluation.cases["case"].isin([row.title for row in rows])]
    twice = table.loc[table.duplicated(["system", "data", "case"]) & (table["data"] == judge.data), "case"]
    if len(twice):
        several = ", ".join(twice.unique())
        notes.append(f"{figure}: several folds predicted {several}; the first one's masks are shown")
    measure, highest = _measure(evaluation, sure)
    heading = "uncertainty" if sure is None or len(systems) == 1 else f"uncertainty, {sure.label}"
    draw_cases(rows, evaluation.structures, path, measure=measure, highest=highest, heading=heading)
    worst_of = f" with the lowest mean Dice of {judge.label}, the worst first" if named is None else ""
    caption = (
        f"{counted(len(rows), 'case')}{worst_of}: a slice (of a volume the one with most of the truth), the "
        f"truth, and the mask of {counted(len(systems), 'system')} with the mean Dice over all structures of "
        "the case, all its slices counted."
    )
    if sure is not None:
        caption += f" Last, the uncertainty of {sure.label}: {measure}."
    return [*notes, FigureEntry(figure, caption, path)]


def _sure(
    evaluation: Evaluation, systems: Sequence[System], judge: System, cases: Sequence[str]
) -> System | None:
    """Whose uncertainty is shown: the judge's, or that of the last system that has one of these cases."""
    table = evaluation.cases[evaluation.cases["case"].isin(cases) & evaluation.cases["uncertainty"].notna()]
    having = set(zip(table["system"], table["data"], strict=True))
    return next((system for system in (judge, *reversed(systems)) if system.key in having), None)


def _measure(evaluation: Evaluation, sure: System | None) -> Measure:
    """What a system's maps show, by a comment in their files; those of earlier versions have none."""
    if sure is None:
        return ENTROPY
    of_system = (evaluation.cases["system"] == sure.name) & (evaluation.cases["data"] == sure.data)
    for path in evaluation.cases.loc[of_system, "uncertainty"].dropna():
        if (name := comment_of(Path(path))) in MEASURES:
            return MEASURES[name]
    sampler = (sure.settings or {}).get("sampler") or {}
    return VARIANCE if sampler.get("fusion") == "ensemble" else ENTROPY


def _row(
    evaluation: Evaluation, systems: Sequence[System], case: str, sure: System | None
) -> tuple[CaseRow, tuple[str, ...]]:
    """The slices of a case under the systems' labels, and why some are missing."""
    files = files_of(evaluation, case)
    having = [system for system in systems if system.label in files]
    if not having:
        raise NoPicture("none of the systems predicted it")
    first = next((system for system in having if files[system.label]["image"]), None)
    if first is None:
        raise NoPicture("it has no image; name the images' folder when you evaluate")
    made = read_slices(evaluation, case, systems, first)
    masks = {s.label: made.systems[s.label].mask if s.label in made.systems else None for s in systems}
    scores = {system.label: evaluation.of(system) for system in systems}
    dice = {name: float(own.loc[own["case"] == case, "dice"].mean()) for name, own in scores.items()}
    row = CaseRow(
        case,
        made.image,
        {TRUTH: made.label, **masks},
        made.systems[sure.label].heatmap if sure and sure.label in made.systems else None,
        made.view.spacing,
        {name: mean for name, mean in dice.items() if not pd.isna(mean)},
    )
    return row, made.remarks
