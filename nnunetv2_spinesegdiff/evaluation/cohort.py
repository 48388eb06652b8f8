"""Who is in a cohort: findings, series, scanners and sexes, counted from SPIDER's two tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..dataset_conversion.names import SEQUENCES, parse_series
from ..dataset_conversion.published_splits import Fold
from ..errors import UserError
from ..pages.cells import Cell
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
FOLD_COUNTS = ("train_cases", "train_patients", "val_cases", "val_patients", "graded")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Overview:
    """SPIDER's overview.csv.

    Attributes:
        series: one row per series: `patient` (text), `sequence` (of `SEQUENCES`), and those of
            `ABOUT_PATIENTS`, `ABOUT_SERIES` and `SPACING_COLUMNS` that the table has, as text without blanks
            around it, "" where missing.
        missing: columns of those that it lacks.
        not_series: names that are not of a series.
        stray_blanks: column to the number of entries that had blanks around them.
    """

    series: pd.DataFrame
    missing: tuple[str, ...] = ()
    not_series: tuple[str, ...] = ()
    stray_blanks: tuple[tuple[str, int], ...] = ()


def overview_of(table: pd.DataFrame, source: str) -> Overview:
    """Series from the table; names of columns are matched whatever their case.

    Args:
        table: one row per series, named like `12_t1` or `136_t2_SPACE.mha`.
        source: what messages call the table.

    Raises:
        UserError: no column `new_file_name`, no series, or a series in two rows.
    """
    columns = {str(name).strip().lower(): position for position, name in enumerate(table)}
    if SERIES not in columns:
        found = ", ".join(map(str, table)) or "none"
        raise UserError(source, f"has no column {SERIES} (found {found})", "give SPIDER's overview.csv")
    named = table.iloc[:, columns[SERIES]].astype(object)
    names = [str(name).strip() for name in named.where(named.notna(), "(no name)")]
    known = [
        found if (found := parse_series(name)) and found.slice_number is None else None for name in names
    ]
    series = pd.DataFrame(
        [(one.patient, one.sequence) if one else (None, None) for one in known],
        columns=["patient", "sequence"],
    )
    wanted = (*ABOUT_PATIENTS, *ABOUT_SERIES, *SPACING_COLUMNS)
    stray = []
    for name in (name for name in wanted if name.lower() in columns):
        entries = table.iloc[:, columns[name.lower()]].astype(object)
        entries = entries.where(entries.notna(), "").map(str)
        series[name] = entries.str.strip().to_numpy()
        if count := int((entries != entries.str.strip()).sum()):
            stray.append((name, count))
    series = series.dropna(subset=["patient"], ignore_index=True)
    if series.empty:
        raise UserError(
            source, f"names no series such as 12_t1 or 12_t2 in {SERIES}", "give SPIDER's overview.csv"
        )
    if (twice := series.duplicated(["patient", "sequence"])).any():
        patient, sequence = series.loc[twice, ["patient", "sequence"]].iloc[0]
        raise UserError(source, f"series {patient}_{sequence} has two lines", "keep one of them")
    missing = tuple(name for name in wanted if name not in series)
    not_series = tuple(
        name.removesuffix(".mha") for name, one in zip(names, known, strict=True) if one is None
    )
    return Overview(series, missing, not_series, tuple(stray))


def finding_counts(gradings: Gradings) -> pd.DataFrame:
    """The paper's table 3: patients with each finding at any level, and the discs that have it.

    Columns `finding`, `count` (patients with it), `total` (patients who were graded for it), `percent` of
    them, `patients` as the paper writes it, "42 (19.27%)", `unknown` (patients who were not graded for it),
    `discs` and `graded_discs`. In SPIDER's table 42 discs have spondylolisthesis and 72 herniation, the
    numbers that the paper gives for patients, who are 39 and 65; its other rows are the numbers of patients,
    as here.
    """
    patients = gradings.by_patient
    rows = []
    for finding in (name for name in TABLE_3 if name in patients):
        count, total = int(patients[finding].sum()), int(patients[finding].notna().sum())
        percent = 100 * count / total if total else np.nan
        discs = gradings.discs[finding]
        rows.append(
            {
                "finding": finding,
                "count": count,
                "total": total,
                "percent": percent,
                "patients": Cell(f"{count} ({percent:.2f}%)" if total else f"{count} (n/a)", count),
                "unknown": len(patients) - total,
                "discs": int(discs.sum()),
                "graded_discs": int(discs.notna().sum()),
            }
        )
    return pd.DataFrame(rows)


def contrast_counts(series: pd.DataFrame) -> pd.DataFrame:
    """Series (`count`) and `patients`, one row per sequence and one row per data set of the paper (`item`).

    T1w is every t1 series; T2w every t2 series, and t2_SPACE of the patients without t2; T1w+T2w both.
    """
    t1, t2, space = (set(series.loc[series["sequence"] == name, "patient"]) for name in SEQUENCES)
    sets = {"t1": t1, "t2": t2, "t2_SPACE": space, "T1w": t1, "T2w": t2 | space}
    rows = [(name, len(patients), len(patients)) for name, patients in sets.items()]
    rows.append(("T1w+T2w", len(t1) + len(t2 | space), len(t1 | t2 | space)))
    return pd.DataFrame(rows, columns=["item", "count", "patients"])


def spacing_ranges(series: pd.DataFrame) -> pd.DataFrame:
    """Range and median of the spacings in mm, one row per kind of spacing and sequence (and "all").

    Columns `spacing`, `sequence`, `known` and `missing` (numbers of series), `low`, `median`, `high`. An
    entry that is blank or cannot be read is missing: a slice thickness does not replace a distance between
    slices. Both numbers of `PixelSpacing` count.
    """
    rows = []
    for name in (name for name in SPACING_COLUMNS if name in series):
        for sequence in ("all", *SEQUENCES):
            mine = series if sequence == "all" else series[series["sequence"] == sequence]
            known = [numbers for numbers in mine[name].map(spacing_numbers) if numbers]
            if mine.empty:
                continue
            flat = np.concatenate(known) if known else np.array([np.nan])
            counts = (len(known), len(mine) - len(known))
            rows.append((name, sequence, *counts, flat.min(), np.median(flat), flat.max()))
    return pd.DataFrame(rows, columns=["spacing", "sequence", "known", "missing", "low", "median", "high"])


def spacing_numbers(text: str) -> tuple[float, ...]:
    """(0.625, 0.625) of "[0.625, .625]", (3.3,) of "3.3"; empty for what holds anything but lengths."""
    try:
        numbers = tuple(float(part) for part in re.split(r"[,\s\\]+", text.strip("[]() ")))
    except ValueError:
        return ()
    return numbers if all(np.isfinite(number) and number > 0 for number in numbers) else ()


def patient_shares(series: pd.DataFrame, column: str) -> pd.DataFrame:
    """Count the patients with each entry: `item`, `count`, `total` (all patients), `percent`.

    Patients whose series have no entry are `UNKNOWN`; those whose series disagree have all their
    entries, "F / M".
    """
    known = series[series[column] != ""]
    entries = known.groupby("patient")[column].agg(lambda values: " / ".join(sorted(set(values))))
    return _shares(entries.reindex(series["patient"].unique()).fillna(UNKNOWN))


def series_shares(series: pd.DataFrame, column: str) -> pd.DataFrame:
    """Count the series with each entry: `item`, `count`, `total` (all series), `percent`."""
    return _shares(series[column].replace("", UNKNOWN))


def _shares(entries: pd.Series) -> pd.DataFrame:
    counts = entries.astype(str).value_counts().rename_axis("item").reset_index(name="count")
    return counts.assign(total=len(entries), percent=100 * counts["count"] / len(entries))


def fold_balance(folds: list[Fold], gradings: Gradings) -> pd.DataFrame:
    """One row per fold: `fold`, `FOLD_COUNTS`, and for each finding the percent of patients that have it.

    `graded` are the validation patients with gradings; percents are of those of them who were graded for the
    finding, NaN where there are none.
    """
    patients = gradings.by_patient
    rows = []
    for number, fold in enumerate(folds):
        mine = patients[patients.index.isin(fold.val_patients)]
        prevalence = 100 * mine[[name for name in TABLE_3 if name in mine]].astype("Float64").mean()
        values = (fold.train, fold.train_patients, fold.val, fold.val_patients, mine)
        counts = dict(zip(FOLD_COUNTS, map(len, values), strict=True))
        rows.append({"fold": number, **counts, **prevalence.astype(float)})
    return pd.DataFrame(rows)
