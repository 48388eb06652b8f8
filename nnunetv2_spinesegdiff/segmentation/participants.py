"""participants.tsv of a BIDS dataset: facts about its subjects."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..text import listed, reason_of
from .bids import participant_of

ID = "participant_id"
_PREFIX = "participant_"
_MISSING = ("n/a", "")
_SHOWN = 5


def participants_of(dataset: Path, scans: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Look up the subjects of scans in the dataset's participants.tsv.

    Args:
        dataset: root of the dataset.
        scans: names of scans.

    Returns:
        By the name of a scan, the columns to add to its rows: `participant_id`, and every other column of the
        table with "participant_" in front; values are text, empty if they are missing. And what is wrong with
        the table, one line each.
    """
    path = dataset / "participants.tsv"
    subjects = {scan: participant_of(scan) for scan in scans}
    columns: list[str] = []
    rows: Mapping[str, Mapping[str, str]] = {}
    notes = []
    if path.exists():
        try:
            columns, rows = _read(path)
        except (OSError, ValueError, csv.Error) as error:
            notes.append(f"{path}: {reason_of(error)}; its columns are not in measurements.csv")
        else:
            if absent := sorted(set(subjects.values()) - set(rows)):
                notes.append(f"{path}: has no row for {listed(absent, _SHOWN)}")
    return {
        scan: {ID: subject, **{_PREFIX + column: rows.get(subject, {}).get(column, "") for column in columns}}
        for scan, subject in subjects.items()
    }, notes


def _read(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The columns except for the first, and values by participant.

    Raises:
        ValueError: the table is malformed.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            lines = [line for line in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if any(line)]
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8 text") from None
    header = lines[0] if lines else []
    if ID not in header:
        raise ValueError(f"has no column {ID}, or its columns are not separated by tabs")
    if len(set(header)) < len(header) or "" in header:
        raise ValueError("has columns of the same name or without a name")
    rows: dict[str, dict[str, str]] = {}
    for values in lines[1:]:
        if len(values) != len(header):
            raise ValueError(f"a row has {len(values)} values for {len(header)} columns: {values[0]}")
        row = dict(zip(header, values, strict=True))
        if row[ID] in rows:
            raise ValueError(f"lists {row[ID]} twice")
        rows[row[ID]] = {column: "" if value in _MISSING else value for column, value in row.items()}
    return [column for column in header if column != ID], rows
