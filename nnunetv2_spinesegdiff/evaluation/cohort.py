"""Who is in a cohort: findings, series, scanners and sexes, counted from SPIDER's two tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..dataset_conversion.names import SEQUENCES, parse_series
from ..errors import UserError
from .findings import DEGENERATION, ENDPLATES, Gradings

SERIES = "new_file_name"
TABLE_3 = (
    *("Spondylolisthesis", "Disc herniation", "Modic changes", ENDPLATES, "Disc narrowing", "Disc bulging"),
    *("Upper endplate changes", "Lower endplate changes", DEGENERATION),
)
"""The six rows of the paper's table 3 in its order, and the other findings of its figure 2."""
SPACING_COLUMNS = ("PixelSpacing", "SpacingBetweenSlices", "SliceThickness")
ABOUT_PATIENTS = ("sex", "subset")
ABOUT_SERIES = ("MagneticFieldStrength", "Manufacturer")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Overview:
    """SPIDER's overview.csv.

    Attributes:
        series: a row a series: `patient` (text), `sequence` (of `SEQUENCES`), and those of `ABOUT_PATIENTS`,
            `ABOUT_SERIES` and `SPACING_COLUMNS` that the table has, as text without blanks around it, ""
            where missing.
        missing: columns of those that it lacks.
        not_series: names that are no name of a series.
        stray_blanks: column to the number of entries that had blanks around them.
    """

    series: pd.DataFrame
    missing: tuple[str, ...] = ()
    not_series: tuple[str, ...] = ()
    stray_blanks: tuple[tuple[str, int], ...] = ()


def overview_of(table: pd.DataFrame, source: str) -> Overview:
    """Series from the table; names of columns are matched whatever their case.

    Args:
        table: a row a series, named like `12_t1` or `136_t2_SPACE.mha`.
        source: what messages call the table.

    Raises:
        UserError: no column `new_file_name`, no series, or a series in two rows.
    """
    columns = {str(name).strip().lower(): position for position, name in enumerate(table)}
    if SERIES not in columns:
        found = ", ".join(map(str, table)) or "none"
        raise UserError(source, f"has no column {SERIES} (found {found})", "give SPIDER's overview.csv")
    names = [str(name).strip().removesuffix(".mha") for name in table.iloc[:, columns[SERIES]]]
    known = [
        (s.patient, s.sequence) if s and s.slice_number is None else None for s in map(parse_series, names)
    ]
    series = pd.DataFrame([pair or (None, None) for pair in known], columns=["patient", "sequence"])
    wanted = (*ABOUT_PATIENTS, *ABOUT_SERIES, *SPACING_COLUMNS)
    stray = []
    for name in wanted:
        if (position := columns.get(name.lower())) is not None:
            entries = (
                table.iloc[:, position].astype(object).where(table.iloc[:, position].notna(), "").map(str)
            )
            series[name] = entries.str.strip().to_numpy()
            if count := int((entries != entries.str.strip()).sum()):
                stray.append((name, count))
    series = series[[pair is not None for pair in known]].reset_index(drop=True)
    if series.empty:
        raise UserError(
            source, f"names no series such as 12_t1 or 12_t2 in {SERIES}", "give SPIDER's overview.csv"
        )
    if (twice := series.duplicated(["patient", "sequence"])).any():
        patient, sequence = series.loc[twice, ["patient", "sequence"]].iloc[0]
        raise UserError(source, f"series {patient}_{sequence} has two lines", "keep one of them")
    missing = tuple(name for name in wanted if name not in series)
    not_series = tuple(name for name, pair in zip(names, known, strict=True) if pair is None)
    return Overview(series, missing, not_series, tuple(stray))


def finding_counts(gradings: Gradings) -> pd.DataFrame:
    """The paper's table 3: patients with each finding at any level, and beside it the discs that have it.

    Columns `finding`, `count` (patients with it), `total` (patients who were graded for it), `percent` of
    them, `patients` in the paper's writing, `unknown` (patients who were not graded for it), `discs` and
    `graded_discs`. In SPIDER's table 42 discs have spondylolisthesis and 72 herniation, the numbers that the
    paper gives for patients, who are 39 and 65; its other rows are the numbers of patients, as here.
    """
    patients = gradings.by_patient
    rows = []
    for finding in (name for name in TABLE_3 if name in patients):
        count, total = int(patients[finding].sum()), int(patients[finding].notna().sum())
        discs = gradings.discs[finding]
        rows.append(
            {
                "finding": finding,
                **_share(count, total),
                "patients": with_percent(count, total),
                "unknown": len(patients) - total,
                "discs": int(discs.sum()),
                "graded_discs": int(discs.notna().sum()),
            }
        )
    return pd.DataFrame(rows)


def contrast_counts(series: pd.DataFrame) -> pd.DataFrame:
    """Series (`count`) and `patients`, a row a sequence and a row a data set of the paper (`item`).

    T1w is every t1 series; T2w every t2 series, and t2_SPACE of the patients without t2; T1w+T2w both.
    """
    t1, t2, space = (set(series.loc[series["sequence"] == name, "patient"]) for name in SEQUENCES)
    sets = {"t1": t1, "t2": t2, "t2_SPACE": space, "T1w": t1, "T2w": t2 | space}
    rows = [(name, len(patients), len(patients)) for name, patients in sets.items()]
    rows.append(("T1w+T2w", len(t1) + len(t2 | space), len(t1 | t2 | space)))
    return pd.DataFrame(rows, columns=["item", "count", "patients"])


def spacing_ranges(series: pd.DataFrame) -> pd.DataFrame:
    """Range and median of the spacings in mm, a row a kind of spacing and sequence (and "all").

    Columns `spacing`, `sequence`, `known` and `missing` (numbers of series), `low`, `median`, `high`. An
    entry that is blank or cannot be read is missing and replaced by nothing: a slice thickness is no distance
    between slices. In plane, both numbers of `PixelSpacing` count.
    """
    rows = []
    for name in (name for name in SPACING_COLUMNS if name in series):
        values = series[name].map(spacing_numbers)
        for sequence in ("all", *SEQUENCES):
            mine = values if sequence == "all" else values[series["sequence"] == sequence]
            if len(mine) == 0:
                continue
            known = [numbers for numbers in mine if numbers]
            flat = np.array([number for numbers in known for number in numbers] or [np.nan])
            measures = dict(
                zip(("low", "median", "high"), (flat.min(), np.median(flat), flat.max()), strict=True)
            )
            counts = {"known": len(known), "missing": len(mine) - len(known)}
            rows.append({"spacing": name, "sequence": sequence, **counts, **measures})
    return pd.DataFrame(rows, columns=["spacing", "sequence", "known", "missing", "low", "median", "high"])


def spacing_numbers(text: str) -> tuple[float, ...]:
    """(0.625, 0.625) of "[0.625, .625]", (3.3,) of "3.3"; empty for what holds anything but lengths."""
    try:
        numbers = tuple(float(part) for part in re.split(r"[,\s\\]+", text.strip("[]() ")))
    except ValueError:
        return ()
    return numbers if all(np.isfinite(number) and number > 0 for number in numbers) else ()


def patient_shares(series: pd.DataFrame, column: str) -> pd.DataFrame:
    """How many patients have each entry: `item`, `count`, `total` (all patients), `percent`.

    Patients whose series have no entry are `UNKNOWN`; those whose series disagree have all their
    entries, "F / M".
    """
    known = series[series[column] != ""]
    entries = known.groupby("patient")[column].agg(lambda values: " / ".join(sorted(set(values))))
    return _shares(entries.reindex(series["patient"].unique()).fillna(UNKNOWN))


def series_shares(series: pd.DataFrame, column: str) -> pd.DataFrame:
    """How many series have each entry: `item`, `count`, `total` (all series), `percent`."""
    return _shares(series[column].replace("", UNKNOWN))


def only_in_one(gradings: Gradings, series: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Patients who are graded and have no series, and those who have series and are not graded."""
    graded, scanned = (
        list(dict.fromkeys(column)) for column in (gradings.discs["patient"], series["patient"])
    )
    return (
        [patient for patient in graded if patient not in set(scanned)],
        [patient for patient in scanned if patient not in set(graded)],
    )


def with_percent(count: int, total: int) -> str:
    """As the paper's table 3 writes it: "42 (19.27%)"."""
    return f"{count} ({100 * count / total:.2f}%)" if total else f"{count} (n/a)"


def _shares(entries: pd.Series) -> pd.DataFrame:
    counts = entries.value_counts()
    rows = [{"item": str(item), **_share(int(count), len(entries))} for item, count in counts.items()]
    return pd.DataFrame(rows, columns=["item", "count", "total", "percent"])


def _share(count: int, total: int) -> dict[str, float]:
    return {"count": count, "total": total, "percent": 100 * count / total if total else np.nan}
