"""`spinesegdiff report`: statistics and figures of an evaluation, then the page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...dataset_conversion.published_splits import read_folds
from ...errors import UserError
from ..cohort import overview_of
from ..findings import gradings_of
from .cohort import Cohort, run_cohort
from .evaluation_folder import System, read_evaluation
from .figures import run_figures
from .figures_folder import Figures
from .findings_figure import findings_of
from .pathology import FOLDER as PATHOLOGY
from .pathology import RECORD as PATHOLOGY_RECORD
from .pathology import Pathology, read_pathology, run_pathology
from .plain_tables import read_text_table
from .report import PAGES, run_report
from .tables import read_comparisons, summary_tables

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


def check_study(study: Study, out: Path, systems: Sequence[System]) -> None:
    """Look, before hours of scoring, at all that a user can have got wrong.

    Raises:
        UserError: `out` is no HTML file's name, an input cannot be used, or there is no such system.
    """
    if out.suffix.lower() not in PAGES:
        raise UserError(out, "a report is an HTML file", "name one that ends in .html")
    if study.page.get("gallery", 0) < 0:
        raise UserError(f"{study.page['gallery']} pictures", "ask for 0 or more")
    asked = [name for name in (study.page.get("order_by"), *(study.statistics.get("systems") or ())) if name]
    known = {name for system in systems for name in (system.name, system.label)}
    if unknown := [name for name in asked if name not in known]:
        raise UserError(unknown[0], "no such system", f"known: {', '.join(sorted(known))}")
    if study.gradings is None and (study.overview or study.splits):
        raise UserError(study.overview or study.splits[0], "a cohort needs --gradings and --overview")
    if study.gradings is not None:
        pfirrmann = study.statistics.get("pfirrmann", 4)
        gradings_of(read_text_table(study.gradings), str(study.gradings), pfirrmann)
    if study.overview is not None:
        overview_of(read_text_table(study.overview), str(study.overview))
    for path in study.splits:
        read_folds(path)


def make_report(study: Study, out: Path) -> Path:
    """Run what the report needs, leave it in the evaluation's folder, and write the page.

    Raises:
        UserError: an input cannot be used.
    """
    folder = study.evaluation
    evaluation = read_evaluation(folder)
    cohort = _cohort(study)
    pathology = _pathology(study)
    figures = figures_of(folder)
    tables = [path for path in (study.gradings, study.overview, *study.splits) if path is not None]
    return run_report(
        folder,
        out,
        tables=summary_tables(evaluation),
        comparisons=read_comparisons(folder),
        figures=figures.entries,
        figure_notes=figures.notes,
        cohort=cohort.tables if cohort else None,
        cohort_notes=cohort.notes if cohort else (),
        pathology=pathology.table if pathology else None,
        pathology_levels=pathology.levels if pathology else None,
        pathology_notes=pathology.notes if pathology else (),
        commands=[study.command] if study.command else [],
        read=tables,
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
        return None
    pfirrmann = study.statistics.get("pfirrmann", 4)
    out = study.evaluation / COHORT
    return run_cohort(study.gradings, study.overview, out, study.splits, pfirrmann=pfirrmann)


def _pathology(study: Study) -> Pathology | None:
    if study.gradings is not None:
        return run_pathology(study.evaluation, study.gradings, **study.statistics)
    folder = study.evaluation / PATHOLOGY
    return read_pathology(folder) if (folder / PATHOLOGY_RECORD).is_file() else None
