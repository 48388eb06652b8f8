"""Cells of tables: what they show, formatted once, and the value that they are sorted by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import text as written
from ..text import MISSING, number


@dataclass(frozen=True)
class Cell:
    """Shown as `text` in every format; sorted by `value`, None comes last."""

    text: str
    value: float | None

    def __str__(self) -> str:
        return self.text


def p_value(p: float) -> Cell:
    return _cell(written.p_value(p), p)


def with_digits(value: float, digits: int) -> Cell:
    return _cell(number(value, digits), value)


def mean_and_spread(mean: float, spread: float, digits: int) -> Cell:
    """ "0.91 ± 0.03"."""
    return _cell(written.mean_and_spread(mean, spread, digits), mean)


def with_interval(mean: float, low: float, high: float, digits: int, signed: bool = False) -> Cell:
    """ "+0.012 [0.004, 0.020]"."""
    return _cell(written.with_interval(mean, low, high, digits, signed), mean)


def with_brackets(cell: Cell, more: object) -> Cell:
    """ "0.91 ± 0.03 (12)" of "0.91 ± 0.03"; a missing number in brackets is not written."""
    return cell if more == MISSING else Cell(f"{cell.text} ({more})", cell.value)


def yes_or_no(value: object) -> str:
    return "yes" if value else "no"


def _cell(text: str, value: float) -> Cell:
    return Cell(text, None if math.isnan(value) else float(value))
