"""`spinesegdiff cohort`: counts from SPIDER's tables and folds, written to a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...dataset_conversion.names import patient_order
from ...dataset_conversion.published_splits import Fold, read_folds
from ...text import listed, markdown_table, number
from ..cohort import (
    ABOUT_PATIENTS,
    ABOUT_SERIES,
    FOLD_COUNTS,
    SPACING_COLUMNS,
    Overview,
    contrast_counts,
    finding_counts,
    fold_balance,
    overview_of,
    patient_shares,
    series_shares,
    spacing_numbers,
    spacing_ranges,
)
from ..findings import Gradings, gradings_of
from .plain_tables import read_text_table, write_results

FINDINGS = "Findings of patients"
CONTRASTS = "Series and contrasts"
SPACINGS = "Spacings in mm"
FOLDS = "Folds of "
"""Followed by the name of the file."""
TITLES = {
    "sex": "Sex",
    "subset": "Subset",
    "MagneticFieldStrength": "Field strength in T",
    "Manufacturer": "Manufacturer",
}
LONG_COLUMNS = ("section", "item", "measure", "count", "total", "percent", "value")
"""Of cohort.csv: shares have `count`, `total` and `percent`, counts `count` alone, findings in folds
`percent` alone, and lengths `value`."""


@dataclass(frozen=True)
class Cohort:
    """A cohort in tables.

    Attributes:
        tables: title to table, in the order in which they are shown: `FINDINGS` (the paper's table 3),
            `CONTRASTS`, `SPACINGS`, those of `TITLES`, and one per file of folds.
        notes: one sentence for everything that is missing, differs or was left out.
    """

    tables: Mapping[str, pd.DataFrame]
    notes: tuple[str, ...]


def run_cohort(
    gradings: Path, overview: Path, out: Path, splits: Sequence[Path] = (), *, pfirrmann: int = 4
) -> Cohort:
    """Count a cohort and write cohort.md, cohort.csv and cohort.json.

    Args:
        gradings, overview: SPIDER's radiological_gradings.csv and overview.csv, or tables like them.
        out: folder for the tables.
        splits: files of folds, nnU-Net's splits_final.json or the paper's; each has a table.
        pfirrmann: lowest grade that counts as degeneration, 2 to 5.

    Raises:
        UserError: one of the inputs cannot be used, or folds share a patient.
    """
    graded = gradings_of(read_text_table(gradings), str(gradings), pfirrmann)
    seen = overview_of(read_text_table(overview), str(overview))
    folds = {path: read_folds(path) for path in splits}
    tables = {
        FINDINGS: finding_counts(graded),
        CONTRASTS: contrast_counts(seen.series),
        SPACINGS: spacing_ranges(seen.series),
        **{TITLES[name]: patient_shares(seen.series, name) for name in ABOUT_PATIENTS if name in seen.series},
        **{TITLES[name]: series_shares(seen.series, name) for name in ABOUT_SERIES if name in seen.series},
        **{_title(path, splits): fold_balance(found, graded) for path, found in folds.items()},
    }
    notes = (
        *_about_tables(graded, seen, pfirrmann),
        *_incomplete(graded, seen),
        *(_about_folds(path, found, graded) for path, found in folds.items()),
    )
    files = {"cohort.csv": _long(tables), "cohort.md": _as_markdown(tables, notes)}
    records = {
        title: json.loads(table.to_json(orient="records", default_handler=str))
        for title, table in tables.items()
    }
    write_results(out, files, "cohort.json", {"tables": records, "notes": list(notes)})
    return Cohort(tables, notes)


def _title(path: Path, splits: Sequence[Path]) -> str:
    """Names of files, not of folders; nnU-Net calls all of them the same, so they are numbered then."""
    alike = [other for other in splits if other.name == path.name]
    return f"{FOLDS}{path.name}" + (f" ({alike.index(path) + 1})" if len(alike) > 1 else "")


def _about_tables(graded: Gradings, seen: Overview, pfirrmann: int) -> list[str]:
    patients, scanned = (pd.Index(table["patient"].unique()) for table in (graded.discs, seen.series))
    unscanned, ungraded = patients.difference(scanned, sort=False), scanned.difference(patients, sort=False)
    notes = [
        f"{len(patients)} patients are graded, {len(scanned)} have series; "
        f"{len(unscanned)} have gradings but no series{_names(unscanned)}, "
        f"{len(ungraded)} series but no gradings{_names(ungraded)}.",
        "A finding is present in a patient who has it at any disc, and a disc with it counts in `discs`; "
        f"degeneration is a Pfirrmann grade of {pfirrmann} or more. Percentages are of the graded ones.",
        "T1w is every t1 series, T2w every t2 series and t2_SPACE of patients without t2.",
    ]
    if seen.stray_blanks:
        stray = ", ".join(f"{count} of {name}" for name, count in seen.stray_blanks)
        notes.append(f"Blanks around entries were removed: {stray}.")
    if others := seen.not_series:
        notes.append(f"{len(others)} lines of the overview name no series and were skipped{_names(others)}.")
    return notes


def _incomplete(graded: Gradings, seen: Overview) -> list[str]:
    notes = [
        f"{finding}: {row['discs']} discs have no grade; {row['unknown']} patients are unknown, "
        f"{row['absent']} count as absent by the discs that were graded."
        for finding, row in graded.incomplete().iterrows()
    ]
    for table, missing in (("gradings", graded.missing), ("overview", seen.missing)):
        if missing:
            notes.append(f"The {table} have no {', '.join(missing)}: results that need it are omitted.")
    for name in (name for name in SPACING_COLUMNS if name in seen.series):
        if blank := int((seen.series[name] == "").sum()):
            notes.append(f"{name}: {blank} series have none and are not in its range.")
        if unread := sorted({text for text in seen.series[name] if text and not spacing_numbers(text)}):
            notes.append(f"{name}: entries that are not lengths are left out of its range{_names(unread)}.")
    return notes


def _about_folds(path: Path, folds: Sequence[Fold], graded: Gradings) -> str:
    validated = set().union(*(fold.val_patients for fold in folds))
    named = validated.union(*(fold.train_patients for fold in folds))
    known = set(graded.discs["patient"])
    repeated = sum(fold.repeated for fold in folds)
    ungraded, never = (sorted(patients, key=patient_order) for patients in (named - known, known - validated))
    return (
        f"{path.name}: {len(named)} patients, no patient is validated on twice; "
        f"{len(ungraded)} are not graded{_names(ungraded)}, {len(never)} graded ones are never validated on"
        f"{_names(never)}." + (f" Names listed twice in a fold count once: {repeated}." if repeated else "")
    )


def _names(names: Iterable[str]) -> str:
    return f" ({text})" if (text := listed(list(names))) else ""


def _long(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All tables below each other: `LONG_COLUMNS`."""
    lines = [
        line
        for title, table in tables.items()
        for row in table.to_dict("records")
        for line in _long_rows(title, row)
    ]
    return pd.DataFrame(lines, columns=list(LONG_COLUMNS))


def _long_rows(title: str, row: dict) -> list[dict[str, object]]:
    counts: Sequence[str]
    if title == SPACINGS:
        item, counts = f"{row['spacing']} {row['sequence']}", ("known", "missing")
        values = {name: {"value": row[name]} for name in ("low", "median", "high")}
    elif title.startswith(FOLDS):
        item, counts = f"fold {row['fold']}", FOLD_COUNTS
        values = {name: {"percent": row[name]} for name in row if name not in ("fold", *FOLD_COUNTS)}
    else:
        of_patients = title in (FINDINGS, TITLES["sex"], TITLES["subset"])
        item = row["finding"] if title == FINDINGS else row["item"]
        counts = {FINDINGS: ("unknown", "discs"), CONTRASTS: ("patients",)}.get(title, ())
        share = {name: row.get(name) for name in ("count", "total", "percent")}
        values = {"patients" if of_patients else "series": share}
    lines: list[dict[str, object]] = [{"measure": name, "count": row[name]} for name in counts]
    lines += [{"measure": name, **value} for name, value in values.items()]
    return [{"section": title, "item": item, **line} for line in lines]


def _as_markdown(tables: Mapping[str, pd.DataFrame], notes: Sequence[str]) -> str:
    parts = ["# Cohort\n"]
    for title, table in tables.items():
        shown = table.map(lambda value: number(value, 2) if isinstance(value, float) else value)
        parts += [f"## {title}\n", f"{markdown_table(shown, shown.to_numpy(object).tolist())}\n"]
    parts += ["## Notes\n", "".join(f"- {note}\n" for note in notes)]
    return "\n".join(parts)
