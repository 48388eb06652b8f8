"""Tables as HTML; `sortable.js` sorts them by a click on a heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

from ..text import MISSING
from .cells import Cell

LONG = 32
"""Characters of a text that gets room for several words per line."""
_SHORT = 16
"""Rows of a table that is not divided between printed pages."""


@dataclass(frozen=True)
class HtmlCell(Cell):
    """A cell that is shown as HTML instead of its text."""

    html: str


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Attributes:
        heading: above it.
        cells: from top to bottom.
    """

    heading: str
    cells: tuple[Cell, ...]

    @cached_property
    def numeric(self) -> bool:
        """Sorted by values: there are some, and none but the missing cells lacks one."""
        known = [cell.value is not None for cell in self.cells if not is_missing(cell)]
        return bool(known) and all(known)

    @cached_property
    def long(self) -> bool:
        return any(len(cell.text) > LONG for cell in self.cells)


def is_missing(cell: Cell) -> bool:
    """There is nothing to sort by: "", "n/a", "n/a (0)"."""
    return cell.value is None and (not cell.text.strip() or cell.text.startswith(MISSING))


def sortable_table(
    columns: Sequence[Column], caption: str, kind: str = "", *, headed_cells: bool = False
) -> str:
    """Return a table as HTML, its first column as headings of the rows. All texts are escaped.

    Args:
        kind: classes of the table in `page.css`, for another look.
        headed_cells: every cell also has its heading, which `page.css` can show.
    """
    rows = list(zip(*(column.cells for column in columns), strict=True))
    classes = " ".join(filter(None, ("sortable", kind, "short" if len(rows) <= _SHORT else "")))
    lines = [
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">',
        f'<table class="{classes}">',
        f"<caption>{escape(caption)}</caption>",
        "<thead>",
        f"<tr>{''.join(map(_heading, columns))}</tr>",
        "</thead>",
        "<tbody>",
    ]
    for row in rows:
        first, *others = map(_content, columns, row)
        headings = [f' data-heading="{escape(c.heading)}"' if headed_cells else "" for c in columns[1:]]
        cells = "".join(f"<td{more}{other}</td>" for more, other in zip(headings, others, strict=True))
        lines.append(f'<tr><th scope="row"{first}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>", "</div>"])


def _heading(column: Column) -> str:
    look = ' class="number"' if column.numeric else ' class="long"' if column.long else ""
    return f'<th scope="col"{look}>{escape(column.heading)}</th>'


def _content(column: Column, cell: Cell) -> str:
    """The rest of an element: attributes and content."""
    look = ' class="number"' if column.numeric else ""
    if is_missing(cell):
        look += " data-missing"
    elif column.numeric:
        look += f' data-value="{cell.value}"'
    return f"{look}>{cell.html if isinstance(cell, HtmlCell) else escape(cell.text)}"
