"""Tables as plain text: CSV of others in, Markdown out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...errors import UserError
from ...files import written_whole
from ...text import reason_of

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
        raise UserError(path, f"cannot be read ({reason_of(error)})", "give a CSV file") from None
    except (ValueError, UnicodeError) as error:
        raise UserError(path, f"not a table ({reason_of(error)})", "give a CSV file in UTF-8") from None
    if not isinstance(table.index, pd.RangeIndex):
        # pandas would take the first entries for names of the rows and shift all columns.
        raise UserError(path, "lines have more entries than names of columns", "correct its first line")
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
