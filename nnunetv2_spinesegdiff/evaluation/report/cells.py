"""Cells of a table: what they show and what they are sorted by."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from .page import Cell, Table

MISSING = "n/a"
MINUS = "\N{MINUS SIGN}"
LONG = 32
"""Characters of a text that gets room for several words a line."""
_MISSING = {"", MISSING, "nan", "\N{EN DASH}", "-", "<na>"}
_NUMBER = re.compile(
    r"""\s*(?P<below>[<≤])?[>≥≈~]?\s*
    (?P<number>[+\-\N{MINUS SIGN}]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?)
    \s*(?:$|%|±|\(|\[|\*|\N{EN DASH}|/\s*\d|to\b|of\b|(?:mm[23²³]?|cm|s|h|y|years?)\b)""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Column:
    """A heading, whether its cells are sorted as numbers, and whether they hold sentences."""

    heading: str
    numeric: bool
    long: bool


@dataclass(frozen=True)
class Grid:
    """A table as it is shown: a text and the value to sort by, or None, a cell."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def grid_of(table: Table) -> Grid:
    """Text and sort values of all cells; a column of nothing but numbers and missing values is numeric."""
    frame = _with_index(table.frame)
    columns = [
        [_cell(value, table.digits.get(str(name))) for value in frame.iloc[:, number]]
        for number, name in enumerate(frame.columns)
    ]
    heads = tuple(
        Column(_heading(name), _numeric(cells), any(len(cell.text) > LONG for cell in cells))
        for name, cells in zip(frame.columns, columns, strict=True)
    )
    return Grid(heads, tuple(zip(*columns, strict=True)) if columns else ())


def is_blank(cell: Cell) -> bool:
    """There is nothing to sort by: "", "n/a", "n/a (0)"."""
    return _is_missing(cell.text) or (cell.value is None and cell.text.startswith(MISSING))


def number_in(text: str) -> float | None:
    """The number that a text begins with: 0.91 of "0.91 ± 0.03", 12 of "12 (34 %)".

    None where the text is something else that happens to begin with a digit: "3_t1", "2D". "< 0.001" is
    just below 0.001.
    """
    found = _NUMBER.match(text)
    if not found:
        return None
    value = float(found["number"].replace(",", "").replace(MINUS, "-"))
    return math.nextafter(value, -math.inf) if found["below"] == "<" else value


def number(value: float, digits: int, signed: bool = False) -> str:
    """With a fixed number of decimals, "n/a" for NaN. Signed: with plus or minus, 0 with none."""
    if np.isnan(value):
        return MISSING
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    # What rounds to nothing has no sign.
    text = text.lstrip("+-") if float(text) == 0 else text
    return text.replace("-", MINUS)


def p_value(p: float) -> Cell:
    """Three decimals, "< 0.001" below them."""
    return Cell("< 0.001" if p < 0.001 else number(p, 3), _known(p))


def mean_and_spread(mean: float, spread: float, digits: int) -> Cell:
    """ "0.91 ± 0.03", sorted by the mean; a single case has no spread."""
    text = number(mean, digits)
    return Cell(text if np.isnan(spread) else f"{text} ± {number(spread, digits)}", _known(mean))


def with_interval(mean: float, low: float, high: float, digits: int, signed: bool = False) -> Cell:
    """ "+0.012 [0.004, 0.020]", sorted by the mean."""
    text = number(mean, digits, signed)
    if not (np.isnan(low) or np.isnan(high)):
        text += f" [{number(low, digits)}, {number(high, digits)}]"
    return Cell(text, _known(mean))


def plain(name: str) -> str:
    """A structure's name as one reads it."""
    return name.replace("_", " ")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _cell(value: Any, digits: int | None) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return Cell(MISSING, None)
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no", None)
    if isinstance(value, Integral):
        return Cell(str(int(value)).replace("-", MINUS), float(value))
    if isinstance(value, Real):
        real = float(value)
        text = number(real, digits) if digits is not None else f"{real:.4g}".replace("-", MINUS)
        return Cell(MISSING if np.isnan(real) else text, _known(real))
    text = str(value)
    return Cell(MISSING if text.strip() else "", None) if _is_missing(text) else Cell(text, number_in(text))


def _numeric(cells: Sequence[Cell]) -> bool:
    present = [cell for cell in cells if not is_blank(cell)]
    return bool(present) and all(cell.value is not None for cell in present)


def _is_missing(text: str) -> bool:
    return text.strip().lower() in _MISSING


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Row numbers that nobody named are not shown."""
    if isinstance(frame.index, pd.RangeIndex) and frame.index.name is None:
        return frame
    unnamed = frame.index.nlevels == 1 and frame.index.name is None
    if unnamed and pd.api.types.is_integer_dtype(frame.index):
        return frame
    return frame.rename_axis("").reset_index() if unnamed else frame.reset_index()


def _heading(name: Any) -> str:
    return " ".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)
