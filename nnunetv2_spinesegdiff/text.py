"""Numbers, lists, tables and exceptions as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

MISSING = "n/a"
MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int, signed: bool = False) -> str:
    """Write a number with a fixed number of decimals, "n/a" for NaN.

    Args:
        signed: write a plus sign, too. What rounds to 0 has no sign.
    """
    if math.isnan(value):
        return MISSING
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    text = text.lstrip("+-") if float(text) == 0 else text
    return text.replace("-", MINUS)


def mean_and_spread(mean: float, spread: float, digits: int) -> str:
    """Write "0.91 ± 0.03"; a single case has no spread."""
    text = number(mean, digits)
    return text if math.isnan(spread) else f"{text} ± {number(spread, digits)}"


def with_interval(mean: float, low: float, high: float, digits: int, signed: bool = False) -> str:
    """Write "+0.012 [0.004, 0.020]"; the interval is left out where it is not known."""
    text = number(mean, digits, signed)
    if math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{number(low, digits)}, {number(high, digits)}]"


def p_value(p: float) -> str:
    """Write a p-value with three decimals, "< 0.001" below them."""
    return "< 0.001" if p < 0.001 else number(p, 3)


def p_statement(p: float) -> str:
    """Write "p = 0.012" or "p < 0.001"."""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def spelled(name: str) -> str:
    """Write the name of a structure without underscores."""
    return name.replace("_", " ")


def listed(names: Sequence[str], most: int = 20) -> str:
    """Write "a, b, c", of many names the first ones: "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def enumerated(phrases: Sequence[str]) -> str:
    """Write "a", "a and b" or "a; b; and c" of phrases that may hold commas."""
    if len(phrases) < 3:
        return " and ".join(phrases)
    return f"{'; '.join(phrases[:-1])}; and {phrases[-1]}"


def markdown_table(headings: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Write a table in Markdown, without a line break at its end; None and NaN become "n/a"."""
    heads = list(headings)
    lines: list[Iterable[object]] = [heads, ["---"] * len(heads), *rows]
    return "\n".join(map(_markdown_line, lines))


def _markdown_line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(_markdown_cell, cells))} |"


def _markdown_cell(value: object) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return MISSING if missing else str(value).replace("|", "\\|")


def reason_of(error: BaseException, with_type: bool = False) -> str:
    """Write why something failed, in one line; of an `OSError` without the names of files.

    Args:
        with_type: write the type of the exception and its message as it is, for errors that nobody expected.
    """
    # ITK states the cause in the last line.
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    if with_type or not lines:
        return f"{kind}: {lines[-1]}" if lines else kind
    return getattr(error, "strerror", None) or lines[-1]
