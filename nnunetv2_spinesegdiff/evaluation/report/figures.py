"""The figures of an evaluation: systems, pairs of systems, depths, findings and cases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import UserError
from .case_figures import cases_figure
from .evaluation_folder import read_evaluation
from .figures_folder import FigureEntry, Figures, left_out, write_index
from .findings_figure import findings_figures
from .pairing import by_data, pairs_of
from .pathology import pathology_of
from .score_figures import depths_figure, pair_figure, systems_figure


def run_figures(
    evaluation_folder: Path,
    out: Path | None = None,
    *,
    cases: Sequence[str] | None = None,
    worst: int = 6,
    pair: tuple[str, str] | None = None,
) -> Figures:
    """Draw all that an evaluation has, each figure as PNG and as PDF, and write the index.

    Systems that were trained on different data share the figure of all systems, and have one set of the
    others per data. A figure without a meaning or without its files is left out, with a note.

    Args:
        evaluation_folder: that `spinesegdiff evaluate` wrote.
        out: folder of the figures; None for `figures` in the evaluation's.
        cases: to show; None for the `worst` ones of the system that a pair ends with.
        worst: how many cases to show.
        pair: labels or names of two systems, see `pairs_of`.

    Raises:
        UserError: the folder holds no evaluation, or a system or case is not in it.
    """
    evaluation = read_evaluation(evaluation_folder)
    out = out or evaluation_folder / "figures"
    known = sorted(set(evaluation.cases["case"]))
    if unknown := [case for case in cases or () if case not in known]:
        advice = f"there are {len(known)}, for example {', '.join(known[:5])}"
        raise UserError(evaluation.folder, f"has no case {unknown[0]}", advice)
    pairs = pairs_of(evaluation.systems, pair)
    groups = by_data(evaluation.systems)
    names = _file_names(groups)
    made: list[FigureEntry | str] = [systems_figure(evaluation, out / "systems.png")]
    made += [pair_figure(evaluation, one, out / f"pairs{names[one[1].data]}.png") for one in pairs]
    paired = {second.data: second for _, second in reversed(pairs)}
    for data in groups if pair is None else ():
        if data not in paired:
            made.append(left_out("pair of systems", data, "fewer than two systems that are not controls"))
    for data, systems in groups.items():
        made.append(depths_figure(evaluation, data, systems, out / f"depth{names[data]}.png"))
    made += findings_figures(pathology_of(evaluation_folder), out)
    for data, systems in groups.items():
        last = [system for system in systems if not system.control] or systems
        judge = paired.get(data, last[-1])
        made += cases_figure(evaluation, systems, judge, cases, worst, out / f"cases{names[data]}.png")
    figures = Figures(
        tuple(one for one in made if isinstance(one, FigureEntry)),
        tuple(one for one in made if isinstance(one, str)),
    )
    write_index(figures, out)
    return figures


def _file_names(data: Iterable[str]) -> dict[str, str]:
    """A unique end of a file name for each data, also where case does not matter; empty for a single one."""
    names: dict[str, str] = {}
    for name in data:
        slug = "_" + (re.sub(r"[^\w+.=-]+", "_", name) or "other")
        taken = {other.casefold() for other in names.values()}
        names[name] = slug if slug.casefold() not in taken else f"{slug}_{len(names) + 1}"
    return names if len(names) > 1 else dict.fromkeys(names, "")
