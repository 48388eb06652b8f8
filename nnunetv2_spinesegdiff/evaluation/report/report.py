"""`spinesegdiff report`: everything that is known of an evaluation, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from ... import __version__
from ...errors import UserError
from ...files import written_whole
from ..found_counts import count_found
from .cells import number
from .claim_section import claim_section
from .evaluation_folder import Evaluation, System, read_evaluation
from .figures_folder import FigureEntry
from .gallery import chosen_system, gallery_section
from .html import Page, rendered
from .page import Listing, Section
from .places import Places
from .provenance import provenance_section
from .result_sections import distance_section, found_section, overlap_section
from .study_sections import cohort_section, figure_section, pathology_section

PAGES = (".html", ".htm")
PICTURES = 40
"""Cases that have a picture, where nobody says otherwise."""
TEXTS = ("system", "data", "system_a", "data_a", "system_b", "data_b", "structure", "finding", "reason")
TITLE = "Evaluation of spine segmentations"
FOOTER = (
    "Written by spinesegdiff {} on {}. Research use, not a medical device. Case names and pictures are those "
    "of the evaluated scans: share this file as you would share them."
)


def run_report(
    evaluation_folder: Path,
    out: Path,
    *,
    tables: Mapping[str, pd.DataFrame],
    comparisons: pd.DataFrame | None = None,
    figures: Sequence[FigureEntry] = (),
    figure_notes: Sequence[str] = (),
    cohort: Mapping[str, pd.DataFrame] | None = None,
    cohort_notes: Sequence[str] = (),
    pathology: pd.DataFrame | None = None,
    pathology_levels: pd.DataFrame | None = None,
    pathology_notes: Sequence[str] = (),
    gallery: int | None = PICTURES,
    order_by: str | None = None,
    commands: Sequence[str] = (),
    read: Sequence[Path] = (),
    title: str = TITLE,
    whole_paths: bool = False,
) -> Path:
    """Write a report that needs no other file, no network and no script. Whole or not at all.

    Args:
        evaluation_folder: that `spinesegdiff evaluate` wrote.
        out: ends in `.html`.
        tables: summary tables by metric ("dice" at least), as for `result_sections.overlap_section`.
        comparisons: differences between systems, as for `evaluation.claims.claims_of`.
        figures, figure_notes: finished ones in order, and what must be said of them.
        cohort, cohort_notes: tables of the patients by title, and what their reader must know.
        pathology, pathology_levels, pathology_notes: as for `study_sections.pathology_section`.
        gallery: cases with a picture, the worst first; None: all, 0: none.
        order_by: label or name of the system whose Dice orders the gallery; the last that is no control.
        commands: that were run beside `spinesegdiff evaluate`.
        read: files that were read beside those of the evaluation.
        title: of the page.
        whole_paths: write paths as they are; without it they are cut down to the names of files.

    Returns:
        `out`.

    Raises:
        UserError: the folder holds no evaluation, `out` has another ending, there is no such system, no table
            of Dice, or less than no pictures are asked for.
    """
    if out.suffix.lower() not in PAGES:
        raise UserError(f"{out}: a report is an HTML file; name one that ends in .html")
    if gallery is not None and gallery < 0:
        raise UserError(f"{gallery} pictures: ask for 0 or more")
    if "dice" not in tables:
        raise UserError(
            f"{evaluation_folder}: has no table of Dice; make it again with spinesegdiff evaluate"
        )
    evaluation = read_evaluation(evaluation_folder)
    tables = {metric: with_texts(table) for metric, table in tables.items()}
    comparisons, pathology, pathology_levels = (
        None if table is None else with_texts(table) for table in (comparisons, pathology, pathology_levels)
    )
    chosen = chosen_system(evaluation, order_by)
    places = places_of(evaluation, out, whole_paths, read)
    controls = [(system.name, system.data) for system in evaluation.systems if system.control]
    names = [(system.name, system.data) for system in evaluation.systems]
    marked = _rows_of(controls, tables["dice"])
    sections = [
        overlap_section(tables, marked),
        claim_section(comparisons, controls, len(names)),
        found_section(count_found(evaluation.scores, names)),
        distance_section(tables, marked),
    ]
    if figures or figure_notes:
        sections.append(figure_section(figures, places, figure_notes))
    if pathology is not None:
        sections.append(pathology_section(pathology, places.all_hidden(pathology_notes), pathology_levels))
    if cohort:
        tables_by_title = {places.hidden(title): table for title, table in cohort.items()}
        sections.append(cohort_section(tables_by_title, places.all_hidden(cohort_notes)))
    sections += [
        gallery_section(evaluation, chosen, gallery),
        left_out_section(evaluation, places),
        provenance_section(evaluation, commands, places),
    ]
    absent = {"figures": not figures, "pathology": pathology is None, "patients and scans": not cohort}
    summary = [
        *summary_of(evaluation, tables["dice"]),
        *_not_here([name for name, gone in absent.items() if gone]),
    ]
    html = rendered(Page(title, summary, sections, FOOTER.format(__version__, date.today().isoformat())))
    with written_whole(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return out


def with_texts(table: pd.DataFrame) -> pd.DataFrame:
    """The table with empty texts where fields of a CSV file were empty, which pandas reads as NaN."""
    texts = [name for name in TEXTS if name in table]
    return table.assign(**{name: table[name].astype(object).fillna("").astype(str) for name in texts})


def _rows_of(controls: Sequence[tuple[str, str]], table: pd.DataFrame) -> list[tuple[str, str]]:
    """Those of the controls; one of which nobody said what it was trained on has a row a contrast."""
    rows = zip(table["system"], table["data"], strict=True)
    return [(system, data) for system, data in rows if {(system, data), (system, "")} & set(controls)]


def places_of(evaluation: Evaluation, out: Path, whole_paths: bool, read: Sequence[Path] = ()) -> Places:
    """Knows every folder that was read or written."""
    folders = {evaluation.folder.resolve(), evaluation.folder.absolute(), out.resolve().parent}
    folders |= {Path.cwd(), Path.home(), *(path.parent for path in read), *(p.resolve().parent for p in read)}
    for column in ("label", "prediction", "image", "uncertainty"):
        folders |= {path.parent for path in evaluation.cases[column] if path}
    return Places(folders, whole_paths)


def summary_of(evaluation: Evaluation, dice: pd.DataFrame) -> list[str]:
    """Which systems, on how many cases, how well, and what is missing: one paragraph in plain words."""
    cases = evaluation.cases
    labels = [_marked(system) for system in evaluation.systems]
    patients = set(cases["patient"]) - {""}
    folds = set(cases["fold"]) - {""}
    within = f"{_count(len(set(cases['case'])), 'case')} of {_count(len(patients), 'patient')}"
    within += f" in {_count(len(folds), 'fold')}" if folds else ""
    systems = "One system was" if len(labels) == 1 else f"{len(labels)} systems were"
    told = [f"{systems} evaluated on {within}: {_listed(labels)}."]
    counts = {s.label: cases.loc[_is(cases, s), "case"].nunique() for s in evaluation.systems}
    if len(set(counts.values())) > 1:
        told.append(
            f"Not all on the same cases: {_listed([f'{name} on {n}' for name, n in counts.items()])}."
        )
    means = [
        f"{number(row['mDICE'], 3)} for {System(row['system'], row['data']).label}"
        for row in dice.to_dict("records")
    ]
    told.append(f"Mean Dice over structures is {_listed(means)}.")
    left_out = len(evaluation.left_out)
    told.append(
        "No case was left out."
        if not left_out
        else f"{_count(left_out, 'case')} could not be scored and {_was(left_out)} left out; "
        f"“{LEFT_OUT}” names {'it' if left_out == 1 else 'them'}."
    )
    return [" ".join(told)]


LEFT_OUT = "Left out, and notes"


def left_out_section(evaluation: Evaluation, places: Places) -> Section:
    """What the numbers do not hold, and what their reader must know."""
    left_out, notes = places.all_hidden(evaluation.left_out), places.all_hidden(evaluation.notes)
    blocks = []
    if left_out:
        blocks.append(Listing(f"Left out ({len(left_out)})", left_out))
    if notes:
        blocks.append(Listing("Notes", notes))
    text = (() if left_out else ("No case was left out.",)) + (() if notes else ("There are no notes.",))
    return Section(LEFT_OUT, text, blocks=tuple(blocks))


def _not_here(names: Sequence[str]) -> list[str]:
    return [f"Not part of this report, as they were not given: {_listed(names)}."] if names else []


def _is(table: pd.DataFrame, system: System) -> pd.Series:
    return (table["system"] == system.name) & (table["data"] == system.data)


def _marked(system: System) -> str:
    return f"{system.label}, which is a control" if system.control else system.label


def _listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a; b; and c": names may hold commas."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{'; '.join(names[:-1])}; and {names[-1]}"


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}" if number_of == 1 else f"{number_of} {what}s"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
