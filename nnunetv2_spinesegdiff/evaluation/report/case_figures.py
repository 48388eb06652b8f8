"""Figures of cases: which are shown, of whom the uncertainty, and what the reader is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import UserError
from ...plots import draw_cases
from .captions import counted, left_out, titled
from .case_rows import case_row, cases_of, worst_cases
from .evaluation_folder import Evaluation, System
from .figures_folder import FigureEntry

MEASURES = {"ensemble": ("variance", 0.25)}
"""What maps show, and its highest value, by the sampler's fusion; all others show entropy."""
ENTROPY = ("entropy (nats)", 1 / np.e)


def cases_figure(
    evaluation: Evaluation,
    systems: Sequence[System],
    judge: System,
    named: Sequence[str] | None,
    worst: int,
    path: Path,
) -> list[FigureEntry | str]:
    """The figure of cases of systems that were trained on the same data, and a note for every case it lacks.

    Args:
        systems: a column each.
        judge: whose worst cases are shown where none are named, and whose uncertainty, where it has any.
        named: cases to show, in their order.
        worst: how many otherwise.
        path: of the PNG.
    """
    table = cases_of(evaluation, systems)
    chosen = worst_cases(evaluation, judge, worst) if named is None else named
    figure = titled("cases", judge.data)
    made: list[FigureEntry | str] = []
    rows = []
    sure = _sure(table, systems, judge, chosen)
    for case in chosen:
        try:
            row = case_row(evaluation, systems, case, sure)
        except UserError as error:
            row = f"because {error}"
        if isinstance(row, str):
            made.append(f"{figure}: without {case}, {row}")
        else:
            rows.append(row)
    if not rows:
        return [*made, left_out("cases", judge.data, "no case to show")]
    shown = [row.title for row in rows]
    twice = table[table.duplicated(["label_of", "case"]) & table["case"].isin(shown)]["case"].unique()
    if len(twice):
        made.append(f"{figure}: several folds predicted {', '.join(twice)}; the first one's masks are shown")
    measure, highest = _measure(sure)
    heading = "uncertainty" if sure is None or len(systems) == 1 else f"uncertainty, {sure.label}"
    draw_cases(rows, evaluation.structures, path, measure=measure, highest=highest, heading=heading, pdf=True)
    worst_of = f" with the lowest mean Dice of {judge.label}, the worst first" if named is None else ""
    caption = (
        f"{counted(len(rows), 'case')}{worst_of}: a slice (of a volume the one with most of the truth), the "
        f"truth, and the mask of {counted(len(systems), 'system')} with the mean Dice over all structures of "
        "the case, all its slices counted."
    )
    if sure is not None:
        caption += f" Last, the uncertainty of {sure.label}: {measure}."
    return [*made, FigureEntry(figure, caption, path)]


def _sure(
    table: pd.DataFrame, systems: Sequence[System], judge: System, cases: Sequence[str]
) -> System | None:
    """Whose uncertainty is shown: the judge's, or that of the last system that has any of these cases."""
    shown = table[table["case"].isin(cases)]
    having = {label for label, path in zip(shown["label_of"], shown["uncertainty"], strict=True) if path}
    return next((system for system in (judge, *reversed(systems)) if system.label in having), None)


def _measure(system: System | None) -> tuple[str, float]:
    sampler = ((system.settings if system else None) or {}).get("sampler") or {}
    return MEASURES.get(sampler.get("fusion", ""), ENTROPY)
