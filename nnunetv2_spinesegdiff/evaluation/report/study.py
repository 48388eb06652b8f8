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
from .cohort import run_cohort
from .evaluation_folder import System, read_evaluation, systems_called
from .figures import run_figures
from .pathology import pathology_of, run_pathology
from .plain_tables import read_text_table
from .report import Contents, write_page
from .tables import read_comparisons

COHORT = "cohort"
PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Study:
    """What a report is made of.

    Attributes:
        evaluation: folder of `spinesegdiff evaluate`; statistics and figures are written there, too.
        gradings, overview: SPIDER's tables. Without gradings existing statistics are shown.
        splits: files of folds, for the cohort.
        statistics: keywords of `run_pathology`.
        page: keywords of `write_page`.
        command: that makes the report.
    """

    evaluation: Path
    gradings: Path | None
    overview: Path | None
    splits: Sequence[Path]
    statistics: Mapping[str, Any]
    page: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def check_study(study: Study, out: Path, systems: Sequence[System]) -> None:
    """Check all inputs of a user before hours of scoring.

    Raises:
        UserError: `out` is not the name of an HTML file, an input cannot be used, or unknown system.
    """
    if out.suffix.lower() not in PAGES:
        raise UserError(out, "a report is an HTML file", "name one that ends in .html")
    if study.page["gallery"] < 0:
        raise UserError(f"{study.page['gallery']} pictures", "ask for 0 or more")
    for name in (study.page["order_by"], *(study.statistics["systems"] or ())):
        if name is not None:
            systems_called(name, systems)
    if study.gradings is None and (study.overview or study.splits):
        raise UserError(study.overview or study.splits[0], "a cohort needs --gradings and --overview")
    if study.gradings is not None:
        gradings_of(read_text_table(study.gradings), str(study.gradings), study.statistics["pfirrmann"])
    if study.overview is not None:
        overview_of(read_text_table(study.overview), str(study.overview))
    for path in study.splits:
        read_folds(path)


def make_report(study: Study, out: Path) -> None:
    """Run what the report needs, leave it in the evaluation's folder, and write the page.

    Raises:
        UserError: an input cannot be used.
    """
    folder, gradings, overview = study.evaluation, study.gradings, study.overview
    evaluation = read_evaluation(folder)
    cohort = None
    if gradings is not None and overview is not None:
        pfirrmann = study.statistics["pfirrmann"]
        cohort = run_cohort(gradings, overview, folder / COHORT, study.splits, pfirrmann=pfirrmann)
    if gradings is not None:
        run_pathology(folder, gradings, **study.statistics)
    contents = Contents(
        evaluation, read_comparisons(folder), run_figures(folder), cohort, pathology_of(folder)
    )
    tables = [path for path in (gradings, overview, *study.splits) if path is not None]
    write_page(contents, out, commands=[study.command], read=tables, **study.page)
