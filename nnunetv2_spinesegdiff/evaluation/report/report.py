"""The page of `spinesegdiff report`: everything that is known of an evaluation, in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pandas as pd

from ... import __version__
from ...text import enumerated, number
from ..columns import label_of, rows_of
from ..summary_tables import count_found
from .claim_section import claim_section
from .cohort import Cohort
from .evaluation_folder import Evaluation, systems_called
from .figures_folder import Figures, counted
from .gallery import gallery_section
from .html import rendered
from .page import Page
from .pathology import Pathology
from .places import Places
from .plain_tables import write_text
from .provenance import provenance_section
from .sections import (
    LEFT_OUT,
    cohort_section,
    distance_section,
    figure_section,
    found_section,
    instance_section,
    left_out_section,
    overlap_section,
    pathology_section,
)
from .tables import summary_tables

TITLE = "Evaluation of spine segmentations"
FOOTER = (
    "Written by spinesegdiff {} on {}. Research use, not a medical device. Case names and pictures are those "
    "of the evaluated scans: share this file as you would share them."
)


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        comparisons: differences between systems, of `comparisons.compare`, or None.
    """

    evaluation: Evaluation
    comparisons: pd.DataFrame | None = None
    figures: Figures = field(default_factory=Figures)
    cohort: Cohort | None = None
    pathology: Pathology | None = None


def write_page(
    contents: Contents,
    out: Path,
    *,
    gallery: int = 40,
    order_by: str | None = None,
    title: str = TITLE,
    whole_paths: bool = False,
    commands: Sequence[str] = (),
    read: Sequence[Path] = (),
) -> None:
    """Write a page that needs no other file, no network and no script. Whole or not at all.

    Args:
        gallery: cases with a picture, the worst first.
        order_by: label or name of the system whose Dice orders the gallery; by default the last that is not a
            control.
        title: of the page.
        whole_paths: write paths as they are instead of only the names of files.
        commands: that were run in addition to `spinesegdiff evaluate`.
        read: files that were read in addition to those of the evaluation.
    """
    evaluation = contents.evaluation
    tables = summary_tables(evaluation)
    named = systems_called(order_by, evaluation.systems) if order_by else evaluation.proposed
    places = places_of(evaluation, out, whole_paths, read)
    controls = [system.key for system in evaluation.systems if system.control]
    sections = [
        overlap_section(tables, controls),
        claim_section(contents.comparisons, controls, len(evaluation.systems)),
        found_section(count_found(evaluation.scores, evaluation.keys)),
        distance_section(tables, controls),
    ]
    figures, pathology, cohort = contents.figures, contents.pathology, contents.cohort
    optional = {
        "figures": figure_section(figures, places) if figures.entries or figures.notes else None,
        "pathology": pathology_section(pathology, places) if pathology else None,
        "patients and scans": cohort_section(cohort, places) if cohort else None,
    }
    single = instance_section(evaluation)
    sections += [section for section in (single, *optional.values()) if section]
    sections += [
        gallery_section(evaluation, named[-1], gallery),
        left_out_section(evaluation, places),
        provenance_section(evaluation, commands, places),
    ]
    summary = [_summary(evaluation, tables["dice"])]
    if absent := [name for name, section in optional.items() if section is None]:
        summary.append(f"Not part of this report, as they were not given: {enumerated(absent)}.")
    footer = FOOTER.format(__version__, date.today().isoformat())
    write_text(rendered(Page(title, summary, sections, footer)), out)


def places_of(evaluation: Evaluation, out: Path, whole_paths: bool, read: Sequence[Path] = ()) -> Places:
    """Every folder that was read or written."""
    folders = {evaluation.folder.resolve(), evaluation.folder.absolute(), out.resolve().parent}
    folders |= {Path.cwd(), Path.home(), *(path.parent for path in read), *(p.resolve().parent for p in read)}
    for column in ("label", "prediction", "image", "uncertainty"):
        folders |= {path.parent for path in evaluation.cases[column] if path}
    return Places(folders, whole_paths)


def _summary(evaluation: Evaluation, dice: pd.DataFrame) -> str:
    """Which systems, on how many cases, how well, and what is missing."""
    cases = evaluation.cases
    patients, folds = (set(cases[name]) - {""} for name in ("patient", "fold"))
    within = f"{counted(cases['case'].nunique(), 'case')} of {counted(len(patients), 'patient')}"
    within += f" in {counted(len(folds), 'fold')}" if folds else ""
    labels = [s.label + (", which is a control" if s.control else "") for s in evaluation.systems]
    systems = "One system was" if len(labels) == 1 else f"{len(labels)} systems were"
    sentences = [f"{systems} evaluated on {within}: {enumerated(labels)}."]
    counts = {s.label: rows_of(cases, s.key)["case"].nunique() for s in evaluation.systems}
    if len(set(counts.values())) > 1:
        each = enumerated([f"{label} on {n}" for label, n in counts.items()])
        sentences.append(f"Not all on the same cases: {each}.")
    means = [
        f"{number(mean, 3)} for {label_of((system, data))}"
        for system, data, mean in dice[["system", "data", "mDICE"]].itertuples(index=False)
    ]
    sentences.append(f"Mean Dice over structures is {enumerated(means)}.")
    left_out = len(evaluation.left_out)
    was, them = ("was", "it") if left_out == 1 else ("were", "them")
    sentences.append(
        f"{counted(left_out, 'case')} could not be scored and {was} left out; “{LEFT_OUT}” lists {them}."
        if left_out
        else "No case was left out."
    )
    return " ".join(sentences)
