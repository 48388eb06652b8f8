"""Whose scan a case is, and of which contrast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import UserError

CONTRASTS = {"t1": "T1w", "t2": "T2w"}
_SPIDER = re.compile(r"(?:SPIDER_)?(\d+)_(t1|t2)(?:_.*)?", re.IGNORECASE)
"""SPIDER_002_t1 of the converter, SPIDER_002_t1_084 of the paper's authors, 2_t2_SPACE of SPIDER itself."""


@dataclass(frozen=True)
class CaseOrigin:
    """Attributes as in scores.csv; `source` is SPIDER's file, empty where unknown."""

    patient: str
    contrast: str = ""
    source: str = ""


class Patients:
    """Looks cases up in the tables that `spinesegdiff convert` writes, and else in their names."""

    def __init__(self, tables: list[Path]):
        """Raises UserError where a table lacks a column."""
        self._known: dict[str, CaseOrigin] = {}
        for path in tables:
            self._known |= _read(path)

    def __call__(self, case: str) -> CaseOrigin:
        if case in self._known:
            return self._known[case]
        named = _SPIDER.fullmatch(case)
        if named:
            return CaseOrigin(str(int(named[1])), CONTRASTS[named[2].lower()])
        return CaseOrigin(case)


def _read(path: Path) -> dict[str, CaseOrigin]:
    try:
        table = pd.read_csv(path, dtype=str).fillna("")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    missing = [name for name in ("case", "patient") if name not in table]
    if missing:
        raise UserError(
            f"{path}: has no column {missing[0]}; name the cases.csv that spinesegdiff convert wrote"
        )
    table = table.reindex(columns=["case", "patient", "contrast", "source"], fill_value="")
    return {
        row["case"]: CaseOrigin(
            row["patient"] or row["case"], CONTRASTS.get(row["contrast"], row["contrast"]), row["source"]
        )
        for _, row in table.iterrows()
    }
