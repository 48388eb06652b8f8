"""Which findings the radiological gradings report, disc by disc and patient by patient.

The table is SPIDER's `radiological_gradings.csv` (doi:10.5281/zenodo.10159290): one row per disc, 0 for a
finding that is absent, above 0 for one that is present (the type of Modic changes), and a Pfirrmann grade of
1 to 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..dataset_conversion.names import canonical_patient
from ..errors import UserError

PATIENT, LEVEL = "Patient", "IVD label"
COLUMNS = {
    "Modic changes": "Modic",
    "Upper endplate changes": "UP endplate",
    "Lower endplate changes": "LOW endplate",
    "Spondylolisthesis": "Spondylolisthesis",
    "Disc herniation": "Disc herniation",
    "Disc narrowing": "Disc narrowing",
    "Disc bulging": "Disc bulging",
    "Disc degeneration": "Pfirrmann grade",
}
"""Finding to the column that grades it. SPIDER itself writes "Pfirrman", which is understood, too."""
FINDINGS = tuple(COLUMNS)
"""The findings of the paper's figure 2."""
DEGENERATION = "Disc degeneration"
ENDPLATES = "Endplate changes"
"""Upper or lower ones, as the paper's table 3 counts them."""
GRADES = (1, 5)
"""Pfirrmann's scale."""


@dataclass(frozen=True)
class Gradings:
    """Findings of all graded discs.

    Attributes:
        discs: one row per disc in the order of the table: `patient` (text), `level` (Int64, SPIDER's "IVD
            label": 1 is L5/S1, counted towards the head; missing throughout where the table has no such
            column), and a nullable boolean column for each of `FINDINGS` and `ENDPLATES` that the table
            grades: True, False, or missing where the disc was not graded. `ENDPLATES` is there where upper
            and lower ones are graded; it is missing where one of them is and the other is not present.
        missing: columns of SPIDER that the table lacks.
    """

    discs: pd.DataFrame
    missing: tuple[str, ...] = ()

    @property
    def by_patient(self) -> pd.DataFrame:
        """Findings at any level, one row per patient (the index, text), nullable boolean columns.

        A finding is present where any disc has it, unknown where no disc was graded for it, and else absent:
        absent at the discs that were graded, as for patients whose upper discs have no row at all.
        """
        grades = self.discs.drop(columns=["patient", "level"]).astype("Float64")
        return grades.groupby(self.discs["patient"], sort=False).max() > 0

    @property
    def by_level(self) -> pd.DataFrame:
        """Findings of discs whose level is known, indexed by `patient` and `level`."""
        discs = self.discs.dropna(subset=["level"])
        return discs.astype({"level": "int64"}).set_index(["patient", "level"])

    def incomplete(self) -> pd.DataFrame:
        """One row per finding (the index) with missing grades.

        Columns: `discs` without a grade; patients who are `unknown` for it; patients who count as `absent`
        though some of their discs have no grade.
        """
        grades = self.discs.drop(columns=["patient", "level"])
        patients = self.by_patient
        any_missing = grades.isna().groupby(self.discs["patient"], sort=False).any()
        table = pd.DataFrame(
            {
                "discs": grades.isna().sum(),
                "unknown": patients.isna().sum(),
                "absent": ((~patients).fillna(False).astype(bool) & any_missing).sum(),
            }
        )
        return table[table["discs"] > 0]


def gradings_of(table: pd.DataFrame, source: str, pfirrmann: int = 4) -> Gradings:
    """Read findings from a table of gradings.

    Blank cells are discs that were not graded. Names of columns are matched whatever their case.

    Args:
        table: one row per disc, text or numbers.
        source: what messages call the table; rows are counted as lines below one line of names.
        pfirrmann: a disc of this grade or a higher one is degenerated, 2 to 5.

    Raises:
        UserError: no column `Patient`, no row, no finding at all, a row without patient or with an entry that
            is not a grade, a disc in two rows, or a `pfirrmann` that does not divide discs.
    """
    if not GRADES[0] < pfirrmann <= GRADES[1]:
        raise UserError(
            f"Pfirrmann grade {pfirrmann}",
            "does not divide discs into groups",
            f"give one of {GRADES[0] + 1} to {GRADES[1]}",
        )
    columns = _columns(table, source)
    if PATIENT not in columns:
        found = ", ".join(map(str, table)) or "none"
        advice = "give SPIDER's radiological_gradings.csv or a table with its columns"
        raise UserError(source, f"has no column {PATIENT} (found {found})", advice)
    if table.empty:
        raise UserError(source, "has no line below the names of the columns", "give one line per disc")
    wanted = (LEVEL, *COLUMNS.values())
    missing = tuple(name for name in wanted if name not in columns)
    if set(missing) >= set(COLUMNS.values()):
        expected = f"columns such as {', '.join(COLUMNS.values())} are expected"
        raise UserError(source, "grades no finding", expected)
    discs = pd.DataFrame({"patient": _patients(columns[PATIENT], source)})
    discs["level"] = _levels(columns[LEVEL], source) if LEVEL in columns else pd.Series(dtype="Int64")
    _check_no_disc_twice(discs, source)
    for finding, name in COLUMNS.items():
        if name in columns:
            grades = _numbers(columns[name], name, source)
            discs[finding] = _present(grades, name, source, pfirrmann if finding == DEGENERATION else 1)
    upper, lower = "Upper endplate changes", "Lower endplate changes"
    if upper in discs and lower in discs:
        discs[ENDPLATES] = discs[upper] | discs[lower]
    return Gradings(discs, missing)


def _columns(table: pd.DataFrame, source: str) -> dict[str, pd.Series]:
    known = {_normal(name): name for name in (PATIENT, LEVEL, *COLUMNS.values())}
    found: dict[str, pd.Series] = {}
    for position, name in enumerate(map(str, table)):
        wanted = known.get(_normal(name))
        if wanted in found:
            raise UserError(source, f"has two columns {wanted}", "remove one")
        if wanted is not None:
            found[wanted] = table.iloc[:, position].reset_index(drop=True)
    return found


def _normal(name: str) -> str:
    return re.sub(r"pfirrmann?", "pfirrmann", re.sub(r"[\W_]+", " ", name).strip().lower())


def _patients(column: pd.Series, source: str) -> pd.Series:
    _check(
        column.notna() & (column.astype(str).str.strip() != ""),
        source,
        f"has no {PATIENT}",
        "fill it in or remove the line",
    )
    return column.map(canonical_patient).astype(object)


def _levels(column: pd.Series, source: str) -> pd.Series:
    levels = _numbers(column, LEVEL, source)
    _check(levels % 1 == 0, source, f"has no whole number as {LEVEL}", "correct it or remove the line")
    return levels.astype("Int64")


def _numbers(column: pd.Series, name: str, source: str) -> pd.Series:
    entries = column.astype(object).where(column.notna(), "").map(str).str.strip()
    numbers = pd.to_numeric(entries, errors="coerce").astype(float)
    known = np.isfinite(numbers) | (entries == "")
    _check(known, source, f"has {{!r}} as {name}", "write a number, or nothing if ungraded", entries)
    return numbers


def _present(grades: pd.Series, name: str, source: str, lowest: int) -> pd.Series:
    low, high = GRADES if name == COLUMNS[DEGENERATION] else (0, np.inf)
    expected = f"{low} to {high}" if np.isfinite(high) else "0 or more"
    known = grades.isna() | grades.between(low, high)
    _check(known, source, f"has {{:g}} as {name}", f"write {expected}, or nothing if ungraded", grades)
    # "Present" is above 0, not from 1: a grade between two types is one, too.
    present = grades >= lowest if low > 0 else grades > 0
    return present.astype("boolean").mask(grades.isna())


def _check_no_disc_twice(discs: pd.DataFrame, source: str) -> None:
    twice = discs["level"].notna() & discs.duplicated(["patient", "level"])
    names = "patient " + discs["patient"] + f", {LEVEL} " + discs["level"].astype(str)
    _check(~twice, source, "has {} a second time", "keep one of the lines", names)


def _check(right: pd.Series, source: str, cause: str, advice: str, entries: pd.Series | None = None) -> None:
    """Raise a UserError that names the first line with an invalid entry; `cause` is formatted with it."""
    if right.all():
        return
    row = int(np.flatnonzero(~right)[0])
    if entries is not None:
        cause = cause.format(entries.iloc[row])
    # Counted from 1, after the line of names.
    raise UserError(source, f"line {row + 2} {cause}", advice)
