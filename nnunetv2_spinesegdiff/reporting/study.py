"""`spinesegdiff report`: statistics and figures of an evaluation, then the page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from .cohort import Cohort, run_cohort
from .evaluation_folder import read_evaluation
from .figures import run_figures
from .figures_folder import Figures
from .findings_figure import findings_of
from .gallery import chosen_system
from .pathology import FOLDER as PATHOLOGY
from .pathology import RECORD as PATHOLOGY_RECORD
from .pathology import Pathology, read_pathology, run_pathology
from .report import PAGES, run_report
from .tables import COMPARISONS, TABLES, summary_tables

COHORT = "cohort"


@dataclass(frozen=True)
class Study:
    """What a report is made of.

    Attributes:
        evaluation: folder of `spinesegdiff evaluate`; statistics and figures go there, too.
        gradings, overview: SPIDER's tables. Without gradings statistics are shown that are there already.
        splits: files of folds, for the cohort.
        statistics: keywords of `run_pathology`.
        page: keywords of `run_report`.
        command: that makes the report.
    """

    evaluation: Path
    gradings: Path | None = None
    overview: Path | None = None
    splits: Sequence[Path] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    page: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def check_report(out: Path, *inputs: Path | None) -> None:
    """Look at what a user can have got wrong before hours of scoring.

    Raises:
        UserError: `out` is no HTML file's name, or an input is missing.
    """
    if out.suffix.lower() not in PAGES:
        raise UserError(f"{out}: a report is an HTML file; name one that ends in .html")
    for path in inputs:
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file")


def make_report(study: Study, out: Path) -> Path:
    """Run what the report needs, leave it in the evaluation's folder, and write the page.

    Raises:
        UserError: an input cannot be used.
    """
    folder = study.evaluation
    evaluation = read_evaluation(folder)
    chosen_system(evaluation, study.page.get("order_by"))  # said before figures are drawn, not after
    cohort = _cohort(study)
    pathology = _pathology(study)
    figures = figures_of(folder)
    differences = folder / TABLES / f"{COMPARISONS}.csv"
    return run_report(
        folder,
        out,
        tables=summary_tables(evaluation),
        comparisons=pd.read_csv(differences, na_values="n/a") if differences.is_file() else None,
        figures=figures.entries,
        figure_notes=figures.notes,
        cohort=cohort.tables if cohort else None,
        pathology=pathology.table if pathology else None,
        pathology_levels=pathology.levels if pathology else None,
        pathology_notes=pathology.notes if pathology else (),
        commands=[study.command] if study.command else [],
        **study.page,
    )


def figures_of(evaluation_folder: Path, out: Path | None = None, **choices: Any) -> Figures:
    """All figures of an evaluation, those of findings where their statistics are there.

    Args:
        choices: keywords of `run_figures`.
    """
    there = (evaluation_folder / PATHOLOGY / PATHOLOGY_RECORD).is_file()
    findings = findings_of(read_pathology(evaluation_folder / PATHOLOGY)) if there else []
    return run_figures(evaluation_folder, out, findings=findings, **choices)


def _cohort(study: Study) -> Cohort | None:
    if study.overview is None or study.gradings is None:
        if study.overview or study.splits:
            raise UserError(f"{study.overview or study.splits[0]}: a cohort needs --gradings and --overview")
        return None
    pfirrmann = study.statistics.get("pfirrmann", 4)
    out = study.evaluation / COHORT
    return run_cohort(study.gradings, study.overview, out, study.splits, pfirrmann=pfirrmann)


def _pathology(study: Study) -> Pathology | None:
    if study.gradings is not None:
        return run_pathology(study.evaluation, study.gradings, **study.statistics)
    folder = study.evaluation / PATHOLOGY
    return read_pathology(folder) if (folder / PATHOLOGY_RECORD).is_file() else None
