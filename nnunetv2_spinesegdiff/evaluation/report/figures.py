"""The figures of an evaluation: systems, pairs of systems, depths, findings and cases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...errors import UserError
from ...plots import draw_pathology
from .captions import BOX, counted, left_out, without_dice
from .case_figures import cases_figure
from .evaluation_folder import Evaluation, System, read_evaluation
from .figures_folder import FigureEntry, Figures, write_index
from .pairing import by_data, pairs_of
from .score_figures import depths_figure, pair_figure, systems_figure

WORST = 6


@dataclass(frozen=True)
class Findings:
    """What figure 2 shows of one system.

    Attributes:
        system: its label.
        groups, tests: as `draw_pathology` takes them.
        method: of the tests and of their correction, for the caption.
    """

    system: str
    groups: pd.DataFrame
    tests: pd.DataFrame
    method: str = ""


def run_figures(
    evaluation_folder: Path,
    out: Path | None = None,
    *,
    cases: Sequence[str] | None = None,
    worst: int = WORST,
    pair: tuple[str, str] | None = None,
    findings: Sequence[Findings] = (),
) -> Figures:
    """Draw all that an evaluation has, each figure as PNG and as PDF, and write the index.

    Systems that were trained on different data share the figure of all systems, and have a set of the others
    for each data. A figure that makes no sense or lacks its files is left out, and a note says why.

    Args:
        evaluation_folder: that `spinesegdiff evaluate` wrote.
        out: folder of the figures; without it `figures` in the evaluation's.
        cases: to show; without them the `worst` ones of the system that a pair ends with.
        worst: how many cases to show where none is named.
        pair: labels or names of two systems, see `pairs_of`.
        findings: a figure each.

    Raises:
        UserError: the folder holds no evaluation, a system or case is not in it, or a mask or map is missing,
            cannot be read or does not lie where its case's label does.
    """
    evaluation = read_evaluation(evaluation_folder)
    out = out or evaluation_folder / "figures"
    _check_cases(evaluation, cases)
    pairs = pairs_of(evaluation.systems, pair)
    groups = by_data(evaluation.systems)
    names = {data: f"_{name}" if len(groups) > 1 else "" for data, name in _file_names(groups).items()}
    made: list[FigureEntry | str] = [systems_figure(evaluation, out / "systems.png")]
    for first, second in pairs:
        made.append(pair_figure(evaluation, (first, second), out / f"pairs{names[second.data]}.png"))
    for data in groups if pair is None else ():
        if not any(second.data == data for _, second in pairs):
            made.append(left_out("pair of systems", data, "fewer than two systems that are not controls"))
    for data, systems in groups.items():
        made.append(depths_figure(evaluation, data, systems, out / f"depth{names[data]}.png"))
    for number, one in enumerate(findings, 1):
        name = "findings.png" if len(findings) == 1 else f"findings_{number}.png"
        made.append(_findings_figure(one, out / name))
    if not findings:
        made.append(left_out("findings", "", "no statistics of pathologies; run spinesegdiff pathology"))
    for data, systems in groups.items():
        judge = next((second for _, second in pairs if second.data == data), _last(systems))
        path = out / f"cases{names[data]}.png"
        made += cases_figure(evaluation, systems, judge, cases, worst, path)
    figures = Figures(
        tuple(one for one in made if isinstance(one, FigureEntry)),
        tuple(one for one in made if isinstance(one, str)),
    )
    write_index(figures, out)
    return figures


def _findings_figure(findings: Findings, path: Path) -> FigureEntry | str:
    kind = f"Findings, {findings.system}"
    if findings.groups["dice"].isna().all():
        return left_out(kind, "", "no patient has a Dice")
    draw_pathology(findings.groups, findings.tests, path, findings.system)
    patients_of = findings.groups.drop_duplicates(["structure", "patient"])
    patients = counted(patients_of["patient"].nunique(), "patient")
    caption = (
        f"Dice of {findings.system} for {patients}, those with a finding next to those without it, one point "
        f"per patient. {BOX} Above each pair the corrected p, bold and with a star where it is significant."
    )
    if findings.method:
        caption += f" {findings.method}"
    return FigureEntry(kind, caption + without_dice(patients_of), path)


def _check_cases(evaluation: Evaluation, cases: Iterable[str] | None) -> None:
    known = set(evaluation.cases["case"])
    for case in cases or ():
        if case not in known:
            some = ", ".join(sorted(known)[:5])
            raise UserError(
                evaluation.folder, f"has no case {case}", f"there are {len(known)}, for example {some}"
            )


def _last(systems: Sequence[System]) -> System:
    return ([system for system in systems if not system.control] or list(systems))[-1]


def _file_names(data: Iterable[str]) -> dict[str, str]:
    """A part of a file name for each, no two the same, whatever letters the names have."""
    names: dict[str, str] = {}
    for name in data:
        slug = re.sub(r"[^\w+.=-]+", "_", name) or "other"
        taken = {other.casefold() for other in names.values()}
        names[name] = slug if slug.casefold() not in taken else f"{slug}_{len(names) + 1}"
    return names
