"""The folds of a cohort: drawn or published before the conversion, settled after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.files import load_json

from .folds import Splits, patient_folds, splits_by_patient, without_validation_of
from .names import Series
from .published_splits import (
    Fold,
    apply_published_folds,
    names_without_series,
    read_published_folds,
    series_without_name,
)
from .report import ConversionReport, Failure
from .spider import Listing


@dataclass(frozen=True)
class CohortFolds:
    """Folds over every patient of the cohort, before it is known which series are usable.

    Dealt over the whole cohort, they stay the same when a broken file is repaired and converted later, and
    whichever contrast is converted.
    """

    series: list[Series]
    drawn: list[list[str]] | None
    published: list[Fold] | None
    file: Path | None

    @classmethod
    def plan(cls, listing: Listing, contrast: str, seed: int, file: Path | None) -> CohortFolds:
        series = [source.series for source in listing.sources]
        if file is not None:
            published = read_published_folds(Path(file))
            if not any(fold["train"] and fold["val"] for fold in apply_published_folds(published, series)):
                raise UserError(file, "names none of the patients at hand", "give the folds of this cohort")
            return cls(series, None, published, Path(file))
        drawn = patient_folds(listing.contrasts, seed, stratum=listing.stratum)
        at_hand = {s.patient for s in series}
        for number, fold in enumerate(drawn):
            if at_hand.isdisjoint(fold):
                raise UserError(
                    f"fold {number}",
                    f"holds no patient with a series of contrast {contrast}",
                    "choose another --contrast, or name folds of your own with --splits",
                )
        return cls(series, drawn, None, None)

    def splits(self, patient_of: dict[str, str]) -> Splits:
        if self.published is None:
            return splits_by_patient(patient_of, self.drawn or [])
        return apply_published_folds(self.published, [s for s in self.series if s.case in patient_of])


def final_splits(report: ConversionReport, folds: CohortFolds, max_oblique_deg: float) -> Splits:
    splits = folds.splits({case.case: case.patient for case in report.cases})
    oblique = [case.case for case in report.cases if case.obliquity_deg > max_oblique_deg]
    splits = without_validation_of(splits, oblique)
    report.note(
        "oblique",
        oblique,
        f"{len(oblique)} of {len(report.cases)} series are more than {max_oblique_deg:g} degrees oblique and "
        f"are used for training only ({', '.join(oblique)})",
    )
    if folds.published is not None:
        _note_published(report, folds)
    for number, fold in enumerate(splits):
        for side in ("train", "val"):
            if not fold[side]:
                error = UserError(
                    report.splits_file,
                    f"fold {number} has no {side} case left and cannot be trained",
                    "repair the series that failed, raise --max_oblique_deg or choose other folds",
                )
                report.failures.append(Failure(str(report.splits_file), str(error)))
    return splits


def _note_published(report: ConversionReport, folds: CohortFolds) -> None:
    published = folds.published or []
    dropped = names_without_series(published, folds.series)
    unnamed = series_without_name(published, folds.series)
    report.note(
        "only_in_splits", dropped, f"{folds.file}: {len(dropped)} of its names have no series here: dropped"
    )
    report.note(
        "not_in_splits",
        unnamed,
        f"{folds.file}: does not name {len(unnamed)} of the cases, which are in no fold, neither "
        f"trained nor validated on ({', '.join(unnamed)})",
    )


def keep_other_splits(report: ConversionReport, splits: Splits) -> None:
    """Move differing folds of an earlier run, or edited by hand, out of the way of the new ones."""
    try:
        same = load_json(report.splits_file) == splits
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        same = False
    if not same:
        kept = report.splits_file.with_name("splits_final.previous.json")
        report.splits_file.replace(kept)
        report.notes.append(
            f"{report.splits_file}: held other folds, which are replaced and kept as {kept.name}: to train "
            "with folds of your own, name their file with --splits"
        )
