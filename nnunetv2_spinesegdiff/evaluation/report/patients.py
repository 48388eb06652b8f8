"""Whose scan a case is, and of which contrast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...dataset_conversion.names import parse_name
from ...errors import UserError
from .plain_tables import read_text_table

CONTRASTS = {"t1": "T1w", "t2": "T2w"}


@dataclass(frozen=True)
class CaseOrigin:
    """Attributes as in scores.csv; `source` is SPIDER's file, empty where unknown."""

    patient: str
    contrast: str = ""
    source: str = ""


class Patients:
    """Looks cases up in the tables that `spinesegdiff convert` writes, and else in their names.

    Where a table leaves the patient blank, the name of the case counts, too.
    """

    def __init__(self, tables: list[Path]):
        """Raises UserError where a table lacks a column."""
        self._known: dict[str, CaseOrigin] = {}
        for path in tables:
            self._known |= _read(path)

    def __call__(self, case: str) -> CaseOrigin:
        return self._known.get(case) or _by_name(case)


def _by_name(case: str) -> CaseOrigin:
    """Read SPIDER_002_t1 of the converter, SPIDER_002_t1_084 of the paper, or A12_t2_SPACE of a file."""
    entry = parse_name(case)
    if entry is None or entry.contrast is None:
        return CaseOrigin(case)
    return CaseOrigin(entry.patient, CONTRASTS[entry.contrast])


def _read(path: Path) -> dict[str, CaseOrigin]:
    table = read_text_table(path).fillna("")
    if missing := [name for name in ("case", "patient") if name not in table]:
        advice = "name the cases.csv that spinesegdiff convert wrote"
        raise UserError(path, f"has no column {missing[0]}", advice)
    table = table.reindex(columns=["case", "patient", "contrast", "source"], fill_value="")
    return {
        row["case"]: CaseOrigin(
            row["patient"] or _by_name(row["case"]).patient,
            CONTRASTS.get(row["contrast"], row["contrast"]),
            row["source"],
        )
        for _, row in table.iterrows()
    }
