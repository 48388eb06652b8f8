"""Tables and folders of results on disk: CSV, Markdown, and a JSON record that is written last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import UserError
from ...files import save_json, written_whole
from ...text import reason_of

TRUTHS = {"True": True, "False": False}
TEXTS = (
    *("system", "data", "fold", "case", "patient", "contrast", "dim", "structure", "found"),
    "level_name",
    *("label", "prediction", "image", "uncertainty", "finding", "test", "fit", "reason"),
    *("system_a", "data_a", "system_b", "data_b", "metric"),
)
"""Columns of our tables whose entries are texts, whatever they look like ("None" is a name)."""


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a CSV file of a user, every entry as text; blank ones are missing.

    Raises:
        UserError: there is no such file, or it is not a table.
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


def read_table(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file written by SpineSegDiff; `TEXTS` are texts, other columns numbers or booleans.

    Raises:
        OSError, ValueError: it cannot be read, lacks one of `columns`, or has a text instead of a number.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path.name} lacks {', '.join(missing)}")
    for name in (name for name in table if name not in TEXTS):
        values = table[name].replace({"": None, "n/a": None})
        if values.notna().any() and values.dropna().isin(TRUTHS).all():
            known = values.map(TRUTHS)
            table[name] = known.astype(bool if known.notna().all() else "boolean")
        else:
            table[name] = pd.to_numeric(values)
    return table


@contextmanager
def reading_results(folder: Path, command: str) -> Iterator[None]:
    """Raise a UserError where `folder` does not hold what a command of spinesegdiff writes."""
    try:
        yield
    except OSError as error:
        missing = Path(str(error.filename)).name
        raise UserError(folder, f"has no {missing}", f"make it with spinesegdiff {command}") from None
    except (ValueError, KeyError, TypeError) as error:
        advice = f"make it again with spinesegdiff {command}"
        raise UserError(folder, f"cannot be read ({reason_of(error)})", advice) from None


def write_results(
    folder: Path, files: Mapping[str, pd.DataFrame | str | None], record_file: str, record: Mapping[str, Any]
) -> None:
    """Write a folder of results, the record last: if it exists, all other files are complete.

    Args:
        files: tables are written as CSV with six significant digits; None removes a file of an earlier run.
    """
    (folder / record_file).unlink(missing_ok=True)
    for name, content in files.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        elif isinstance(content, str):
            write_text(content, folder / name)
        else:
            with written_whole(folder / name) as temporary:
                content.to_csv(temporary, index=False, float_format="%.6g")
    save_json(record, folder / record_file)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
