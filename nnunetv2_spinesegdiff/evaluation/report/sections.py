"""Sections of the page: scores, counts, distances, figures, pathologies, patients, and what is missing."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from ...text import spelled
from ..columns import DISTANCES, FOUND, OVERLAPS, Name, label_of
from ..instances import LEVEL_DICE
from ..pathology import SYSTEM
from ..summary_tables import TITLES, printed, structures_of, without_empty
from .cohort import Cohort
from .evaluation_folder import Evaluation
from .figures_folder import FigureEntry, Figures
from .page import Block, Figure, Listing, Picture, Section, Table
from .pathology import Pathology
from .pathology_text import readable
from .places import Places
from .tables import INSTANCE_TABLES, instance_tables

LEFT_OUT = "Left out, and notes"
FOUND_HEADINGS = dict(
    zip(FOUND.values(), ("Found", "Missed", "Predicted where absent", "In neither mask"), strict=True)
)
UNFOLDED = 3
"""Tables of pathologies are opened by the reader if there are more systems."""
_PNG = b"\x89PNG\r\n\x1a\n"


def overlap_section(tables: Mapping[str, pd.DataFrame], controls: Collection[Name]) -> Section:
    """The paper's table: mean ± sd of Dice per structure and mDICE, and the same for Jaccard.

    Args:
        tables: metric to a table of `summary_tables.summary_table`.
        controls: systems that are marked as such.
    """
    blocks = tuple(_scores(tables[metric], metric, controls, folded=metric != "dice") for metric in OVERLAPS)
    text = (
        "Mean ± standard deviation over cases; 1 is a perfect mask. A structure that is only in the "
        "label or only in the prediction counts as 0. A structure in neither does not "
        "count. If a mean is over fewer "
        "cases than the row has, their number is in brackets. mDICE is the mean over the structures of "
        "their means.",
    )
    return Section("Scores", text, blocks=blocks)


def distance_section(tables: Mapping[str, pd.DataFrame], controls: Collection[Name]) -> Section:
    """ASSD and HD95. The arguments are those of `overlap_section`."""
    given = [m for m in DISTANCES if tables[m].filter(regex=" mean$").notna().any(axis=None)]
    text = (
        "Mean ± standard deviation over cases, in millimeters; 0 is a perfect mask. Distances exist only "
        "where a structure is in label and prediction: a system that misses the hard ones looks better here, "
        "so read them with the counts above. If a mean is over fewer cases than the row has, their number "
        "is in brackets."
        if given
        else "There are none: no case has masks in which a structure was found.",
    )
    return Section("Distances", text, blocks=tuple(_scores(tables[m], m, controls) for m in given))


def found_section(counts: pd.DataFrame) -> Section:
    """Counts of what was found.

    Args:
        counts: of `summary_tables.count_found`.
    """
    heads = {name: name.capitalize() for name in ("system", "data", "structure", "cases")} | FOUND_HEADINGS
    shown = counts.assign(structure=counts["structure"].map(spelled)).rename(columns=heads)
    text = (
        "Missed: only in the label. Predicted where absent: only in the "
        "prediction. A structure that is in "
        "neither mask has no score; it is rightly absent.",
    )
    table = Table(without_empty(shown), "Cases by whether a structure was found")
    return Section("Structures found and missed", text, blocks=(table,))


def instance_section(evaluation: Evaluation) -> Section | None:
    """Panoptic quality and Dice of single vertebrae and discs; None if they were not scored."""
    tables = instance_tables(evaluation)
    if not tables:
        return None
    blocks = tuple(
        Table(lines.rename(columns={"Model": "System"}), INSTANCE_TABLES[name][0], folded=name == LEVEL_DICE)
        for name, (_, lines) in tables.items()
    )
    text = tuple(note for _, note in INSTANCE_TABLES.values())
    return Section("Single vertebrae and discs", text, blocks=blocks)


def figure_section(figures: Figures, places: Places) -> Section:
    """Figures inside the page; one without a file keeps its caption, and states why."""
    blocks: list[Block] = [_figure(entry, places) for entry in figures.entries]
    if figures.notes:
        blocks.append(Listing("Notes on the figures", places.all_hidden(figures.notes)))
    return Section("Figures", blocks=tuple(blocks))


def pathology_section(pathology: Pathology, places: Places) -> Section:
    """Scores of patients, and of discs, with and without a finding."""
    text = (
        "Dice of patients with a finding and of those without it. Hedges' g is the difference of the means "
        "in standard deviations, with its interval; below 0 patients with the finding are segmented worse. "
        "Such differences are associations: findings come together, and with age.",
    )
    caption = "mean Dice with and without a finding"
    groups = list(pathology.table.groupby(SYSTEM, sort=False))
    blocks: list[Block] = [
        Table(readable(own), f"{label_of(name)}: {caption} (patients)", folded=len(groups) > UNFOLDED)
        for name, own in groups
    ]
    blocks += [
        Table(readable(own), f"{label_of(name)}: {caption} there (discs)", folded=True)
        for name, own in pathology.levels.groupby(SYSTEM, sort=False)
    ]
    return Section("Pathology", text, blocks=(*blocks, *_notes(pathology.notes, places)))


def cohort_section(cohort: Cohort, places: Places) -> Section:
    """Tables of the patients, each under its title, and notes on them."""
    blocks = [Table(frame, places.hidden(title)) for title, frame in cohort.tables.items()]
    return Section("Patients and scans", blocks=(*blocks, *_notes(cohort.notes, places)))


def left_out_section(evaluation: Evaluation, places: Places) -> Section:
    """Skipped cases, and notes on the numbers."""
    left_out = places.all_hidden(evaluation.left_out)
    listed = [Listing(f"Left out ({len(left_out)})", left_out)] if left_out else []
    notes = _notes(evaluation.notes, places)
    text = (() if left_out else ("No case was left out.",)) + (() if notes else ("There are no notes.",))
    return Section(LEFT_OUT, text, blocks=(*listed, *notes))


def _notes(notes: Sequence[str], places: Places) -> list[Listing]:
    return [Listing("Notes", places.all_hidden(notes))] if notes else []


def _scores(table: pd.DataFrame, metric: str, controls: Collection[Name], folded: bool = False) -> Table:
    """A summary table with the number of cases and the controls."""
    structures = structures_of(table)
    shown = printed(table, metric, counts=True).rename(columns={name: spelled(name) for name in structures})
    shown.insert(shown.shape[1] - len(structures) - 1, "Cases", table["cases"])
    names = zip(table["system"], table["data"], strict=True)
    # A system of unknown data has one row per contrast.
    marked = [
        f"{system} (control)" if {(system, data), (system, "")} & set(controls) else system
        for system, data in names
    ]
    shown = shown.assign(Model=marked).rename(columns={"Model": "System"})
    return Table(shown, f"{TITLES[metric]}, mean ± sd", folded=folded)


def _figure(entry: FigureEntry, places: Places) -> Figure:
    title, caption = places.hidden(entry.title), places.hidden(entry.caption)
    try:
        content = entry.path.read_bytes()
    except OSError:
        content = b""
    if not content.startswith(_PNG) or len(content) < 24:
        reason = f"{places.shown(entry.path)} does not exist or is not a PNG"
        return Figure(title, f"{caption} No picture: {reason}.", None)
    width, height = struct.unpack(">II", content[16:24])
    return Figure(title, caption, Picture(content, f"{title}. {caption}", width, height))
