"""What other parts of the package found: figures, scores by pathology, and who the patients are."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...errors import UserError
from ...text import MISSING, number
from .cells import Cell, p_value, plain, with_interval
from .evaluation_folder import System
from .figures_folder import FigureEntry
from .page import Block, Figure, Listing, Picture, Section, Table
from .places import Places

PATHOLOGY_COLUMNS = (
    *("system", "data", "structure", "finding", "present", "absent", "mean_present", "mean_absent"),
    *("hedges_g", "g_low", "g_high", "t", "df", "p", "p_corrected", "significant", "reason"),
)
LEVEL_COLUMNS = (
    *("system", "data", "finding", "present", "absent", "mean_present", "mean_absent"),
    *("difference", "difference_low", "difference_high", "p", "p_corrected", "significant", "reason"),
)
UNFOLDED = 3
"""Of more systems than these the tables of pathologies are opened by the reader."""
_PNG = b"\x89PNG\r\n\x1a\n"


def figure_section(figures: Sequence[FigureEntry], places: Places, notes: Sequence[str] = ()) -> Section:
    """Figures in the page itself; one whose file is not there keeps its caption, and says so.

    Args:
        notes: what could not be drawn, for example.
    """
    blocks: list[Block] = [_figure(entry, places) for entry in figures]
    if notes:
        blocks.append(Listing("Notes on the figures", places.all_hidden(notes)))
    return Section("Figures", blocks=tuple(blocks))


def pathology_section(
    table: pd.DataFrame, notes: Sequence[str] = (), levels: pd.DataFrame | None = None
) -> Section:
    """Scores of patients, and of discs, with and without a finding.

    Args:
        table: `PATHOLOGY_COLUMNS`, a row a system, structure and finding; `reason` is why one has no test.
        notes: what its reader must know.
        levels: `LEVEL_COLUMNS`, a row a system and finding; None or empty where discs have no scores.

    Raises:
        UserError: a table lacks a column.
    """
    _check_columns(table, PATHOLOGY_COLUMNS)
    text = (
        "Dice of patients with a finding and of those without it. Hedges' g is the difference of the means "
        "in standard deviations, with its interval; below 0 patients with the finding are segmented worse. "
        "Such differences are associations: findings come together, and with age.",
    )
    groups = list(table.groupby(["system", "data"], sort=False))
    blocks: list[Block] = [
        _pathology_table(own, System(*name).label, folded=len(groups) > UNFOLDED) for name, own in groups
    ]
    if levels is not None and not levels.empty:
        _check_columns(levels, LEVEL_COLUMNS)
        blocks += [
            _level_table(own, System(*name).label)
            for name, own in levels.groupby(["system", "data"], sort=False)
        ]
    if notes:
        blocks.append(Listing("Notes", tuple(notes)))
    return Section("Pathology", text, blocks=tuple(blocks))


def _check_columns(table: pd.DataFrame, columns: Sequence[str]) -> None:
    if missing := [name for name in columns if name not in table]:
        raise UserError(
            "pathology", f"the table lacks {', '.join(missing)}", "make it with spinesegdiff pathology"
        )


def cohort_section(tables: Mapping[str, pd.DataFrame], notes: Sequence[str] = ()) -> Section:
    """Tables of the patients as they are given, each under its title, and what must be known of them."""
    blocks: list[Block] = [Table(frame, title) for title, frame in tables.items()]
    if notes:
        blocks.append(Listing("Notes", tuple(notes)))
    return Section("Patients and scans", blocks=tuple(blocks))


def _figure(entry: FigureEntry, places: Places) -> Figure:
    title, caption = places.hidden(entry.title), places.hidden(entry.caption)
    try:
        content = entry.path.read_bytes()
        picture = Picture(content, f"{title}. {caption}", *_png_size(content))
    except OSError:
        reason = f"{places.shown(entry.path)} is not there or cannot be read"
        return Figure(title, f"{caption} No picture: {reason}.", None)
    except ValueError:
        return Figure(title, f"{caption} No picture: {places.shown(entry.path)} is not a PNG file.", None)
    return Figure(title, caption, picture)


def _png_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        ValueError: it is not a PNG file.
    """
    if not content.startswith(_PNG) or len(content) < 24:
        raise ValueError("no PNG")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _pathology_table(own: pd.DataFrame, label: str, folded: bool) -> Table:
    shown = pd.DataFrame([_pathology_row(row) for row in own.to_dict("records")])
    return Table(
        _without_reasons(shown), f"{label}: mean Dice (patients) with and without a finding", folded=folded
    )


def _level_table(own: pd.DataFrame, label: str) -> Table:
    """Folded: it is long, and a question of its own."""
    shown = pd.DataFrame([_level_row(row) for row in own.to_dict("records")])
    return Table(
        _without_reasons(shown), f"{label}: mean Dice (discs) with and without a finding there", folded=True
    )


def _without_reasons(shown: pd.DataFrame) -> pd.DataFrame:
    """Without the column that says why there is no test, where there is one everywhere."""
    return shown.drop(columns=WHY_NOT) if (shown[WHY_NOT] == "").all() else shown


WHY_NOT = "Not tested because"


def _pathology_row(row: Mapping[Any, Any]) -> dict[str, object]:
    return {
        "Structure": plain(row["structure"]),
        "Finding": plain(str(row["finding"])),
        "With": _with_beside(row["mean_present"], 3, str(row["present"])),
        "Without": _with_beside(row["mean_absent"], 3, str(row["absent"])),
        "Hedges' g [interval]": with_interval(row["hedges_g"], row["g_low"], row["g_high"], 2, signed=True),
        "t (df)": _with_beside(row["t"], 2, number(row["df"], 1)),
        **_tested(row),
    }


def _level_row(row: Mapping[Any, Any]) -> dict[str, object]:
    low, high = row["difference_low"], row["difference_high"]
    return {
        "Finding": plain(str(row["finding"])),
        "With": _with_beside(row["mean_present"], 3, str(row["present"])),
        "Without": _with_beside(row["mean_absent"], 3, str(row["absent"])),
        "Difference [95 % interval]": with_interval(row["difference"], low, high, 3, signed=True),
        **_tested(row),
    }


def _tested(row: Mapping[Any, Any]) -> dict[str, object]:
    return {
        "p": p_value(row["p"]),
        "p (corrected)": p_value(row["p_corrected"]),
        "Significant": Cell(MISSING, None) if pd.isna(row["p_corrected"]) else bool(row["significant"]),
        WHY_NOT: row["reason"],
    }


def _with_beside(value: float, digits: int, beside: str) -> Cell:
    """ "0.810 (12)", sorted by the value; patients are told of groups without a mean, too."""
    text = number(value, digits)
    missing = np.isnan(value)
    return Cell(text if missing and beside == MISSING else f"{text} ({beside})", None if missing else value)
