"""Whether a CSV file is the table that was asked for, and whole."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


def what_is_wrong(path: Path, columns: Sequence[str]) -> str:
    """Why a file is not the table, or not all of it; empty where nothing is wrong.

    Without a published checksum this is what can be told: text in UTF-8, every column, at least one row, and
    as many values in every row as there are columns. An error page fails, and so does a file that ends
    within a row.

    Args:
        path: the file.
        columns: those that it must have, whatever their case, among others.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (UnicodeDecodeError, csv.Error):
        return "is no CSV file"
    header = rows[0] if rows else []
    known = {name.strip().lower() for name in header}
    lacking = [name for name in columns if name.lower() not in known]
    if lacking:
        return f"has no column {lacking[0]!r}"
    if len(rows) < 2:
        return "has no rows"
    broken = [number for number, row in enumerate(rows, 1) if len(row) != len(header)]
    return f"is broken off or damaged in row {broken[0]}" if broken else ""
