"""What other parts of the package found: figures, scores by pathology, and who the patients are."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..errors import UserError
from .cells import MISSING, Cell, p_value, plain, with_interval
from .page import Figure, FigureEntry, Listing, Picture, Section, Table
from .places import Places
from .result_sections import without_empty

PATHOLOGY_COLUMNS = (
    *("system", "data", "structure", "finding", "n_present", "n_absent", "mean_present", "mean_absent"),
    *("hedges_g", "g_low", "g_high", "t", "df", "p", "p_corrected", "significant", "reason"),
)
_PNG = b"\x89PNG\r\n\x1a\n"


def figure_section(figures: Sequence[FigureEntry], places: Places) -> Section:
    """Figures in the page itself; one whose file is not there keeps its caption, and says so."""
    return Section("Figures", blocks=tuple(_figure(entry, places) for entry in figures))


def pathology_section(table: pd.DataFrame, notes: Sequence[str] = ()) -> Section:
    """Scores of patients with and without a finding.

    Args:
        table: `PATHOLOGY_COLUMNS`, a row a system, structure and finding; `reason` is why one has no test.
        notes: what its reader must know.

    Raises:
        UserError: the table lacks a column.
    """
    if missing := [name for name in PATHOLOGY_COLUMNS if name not in table]:
        raise UserError(
            f"pathology: the table lacks {', '.join(missing)}; make it with spinesegdiff pathology"
        )
    text = (
        "Dice of patients with a finding and of those without it. Hedges' g is the difference of the means "
        "in standard deviations, with its interval; below 0 patients with the finding are segmented worse. "
        "Such differences are associations: findings come together, and with age.",
    )
    rows = [_pathology_row(row) for row in table.to_dict("records")]
    digits = {"Mean with": 3, "Mean without": 3, "t": 2, "df": 1}
    shown = without_empty(pd.DataFrame(rows))
    if not table["reason"].fillna("").astype(str).str.strip().any():
        shown = shown.drop(columns="Not tested because")
    blocks: tuple[Table | Listing, ...] = (Table(shown, "Dice with and without a finding", digits),)
    if notes:
        blocks += (Listing("Notes", tuple(notes)),)
    return Section("Pathology", text, blocks=blocks)


def cohort_section(tables: Mapping[str, pd.DataFrame]) -> Section:
    """Tables of the patients as they are given, each under its title."""
    blocks = tuple(Table(frame, title) for title, frame in tables.items())
    return Section("Patients and scans", blocks=blocks)


def _figure(entry: FigureEntry, places: Places) -> Figure:
    try:
        content = entry.path.read_bytes()
        picture = Picture(content, f"{entry.title}. {entry.caption}", *_png_size(content))
    except OSError:
        return _without_picture(entry, f"{places.shown(entry.path)} is not there or cannot be read")
    except ValueError:
        return _without_picture(entry, f"{places.shown(entry.path)} is no PNG")
    return Figure(entry.title, places.hidden(entry.caption), picture)


def _without_picture(entry: FigureEntry, reason: str) -> Figure:
    return Figure(entry.title, f"No picture: {reason}.", None)


def _png_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        ValueError: it is no PNG.
    """
    if not content.startswith(_PNG) or len(content) < 24:
        raise ValueError("no PNG")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _pathology_row(row: Mapping[Any, Any]) -> dict[str, object]:
    return {
        "System": row["system"],
        "Data": "" if pd.isna(row["data"]) else row["data"],
        "Structure": plain(row["structure"]),
        "Finding": plain(str(row["finding"])),
        "With": row["n_present"],
        "Without": row["n_absent"],
        "Mean with": row["mean_present"],
        "Mean without": row["mean_absent"],
        "Hedges' g [interval]": with_interval(row["hedges_g"], row["g_low"], row["g_high"], 2, signed=True),
        "t": row["t"],
        "df": row["df"],
        "p": p_value(row["p"]),
        "p (corrected)": p_value(row["p_corrected"]),
        "Significant": Cell(MISSING, None) if pd.isna(row["p_corrected"]) else bool(row["significant"]),
        "Not tested because": "" if pd.isna(row["reason"]) else row["reason"],
    }
