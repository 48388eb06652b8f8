"""Tables as plain text: CSV of others in, Markdown out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import UserError
from ...files import written_whole

TRUTHS = {"True": True, "False": False}


def read_text_table(path: Path) -> pd.DataFrame:
    """A CSV file with every entry as the text that it is; blank ones are missing.

    Raises:
        UserError: there is no such file, or it is no table.
    """
    try:
        # "utf-8-sig": spreadsheets put a mark before the name of the first column.
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from None
    except (ValueError, UnicodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: is no table ({reason}); give a CSV file in UTF-8") from None
    if not isinstance(table.index, pd.RangeIndex):
        # pandas would take the first entries for names of the rows and shift all columns.
        raise UserError(f"{path}: lines have more entries than names of columns; correct its first line")
    return table


def read_table(path: Path, text: Sequence[str]) -> pd.DataFrame:
    """A CSV file of ours: `text` columns are texts, whatever they say ("None" is a name), others numbers.

    Raises:
        OSError, ValueError: it cannot be read, or holds a text where a number should be.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in table:
        if name in text:
            continue
        values = table[name].replace({"": None, "n/a": None})
        if values.notna().any() and values.dropna().isin(TRUTHS).all():
            known = values.map(TRUTHS)
            table[name] = known.astype(bool if known.notna().all() else "boolean")
        else:
            table[name] = pd.to_numeric(values)
    return table


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Six significant digits, whole or not at all."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def write_text(text: str, path: Path) -> None:
    """UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def markdown_table(table: pd.DataFrame) -> str:
    """Entries as they are, missing ones as "n/a", upright bars escaped."""
    lines: list[list[object]] = [list(table), ["---"] * len(table.columns), *table.to_numpy(object).tolist()]
    return "\n".join("| " + " | ".join(_cell(entry) for entry in line) + " |" for line in lines) + "\n"


def number(value: float, digits: int) -> str:
    """With a true minus; "n/a" for NaN."""
    return "n/a" if np.isnan(value) else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def p_value(p: float) -> str:
    """Four digits, or below which four digits can tell."""
    return "n/a" if np.isnan(p) else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names in a row, the first ones of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _cell(entry: object) -> str:
    missing = entry is None or entry is pd.NA or (isinstance(entry, float) and np.isnan(entry))
    return "n/a" if missing else str(entry).replace("|", "\\|")
