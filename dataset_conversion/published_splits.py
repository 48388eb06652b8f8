"""Folds published elsewhere, brought to the cases of a converted dataset.

Two shapes are read, both a JSON list with one object a fold:

- the paper's: `{"train": [...], "test": [...]}` with names `SPIDER_002` (every series of that patient in the
  dataset) or `SPIDER_002_t1_084` (patient, contrast, a running number of no meaning here);
- nnU-Net's: `{"train": [...], "val": [...]}` with the case names of a converted dataset, `SPIDER_002_t1`, or
  `SPIDER_002_t1_s05` of a single slice.

A name stands for a patient and, where it has one, a contrast, so folds published for `t2` serve a dataset
made with `t2_SPACE` too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_spinesegdiff.errors import UserError

from .folds import Splits
from .series import Series, canonical_patient

_NAME = re.compile(r"SPIDER_(?P<patient>[A-Za-z0-9-]+?)(?:_(?P<contrast>t1|t2)(?:_SPACE)?(?:_s?\d+)?)?")

Entry = tuple[str, "str | None"]
"""Patient and contrast ("t1", "t2"), or None for all of the patient's series."""


@dataclass(frozen=True)
class PublishedFold:
    """Who is trained on and who is validated on; repeated names count once."""

    train: frozenset[Entry]
    val: frozenset[Entry]


def read_published_folds(path: Path) -> list[PublishedFold]:
    """Read and check a file of folds.

    Raises:
        UserError: not such a file, a name that cannot be understood, or a patient who is validated on in
            two folds or trained and validated on in the same fold; the message names them.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as JSON ({reason}): give a file of folds") from error
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: expected a list of folds, each with train and test (or val)")
    folds = [_parse_fold(path, number, fold) for number, fold in enumerate(content)]
    _check_no_leak(path, folds)
    return folds


def apply_published_folds(folds: list[PublishedFold], series: Iterable[Series]) -> Splits:
    """nnU-Net splits over the cases at hand.

    Published folds are used as they are: a name without a series drops out, and a series that no name
    means is in no list, neither trained nor validated on, since either would make another experiment of it
    (and training on it could leak its patient).
    """
    series = list(series)

    def cases(entries: frozenset[Entry]) -> list[str]:
        return sorted(s.case for s in series if {(s.patient, None), (s.patient, s.contrast)} & entries)

    return [{"train": cases(fold.train), "val": cases(fold.val)} for fold in folds]


def names_without_series(folds: list[PublishedFold], series: Iterable[Series]) -> list[Entry]:
    """Names of the file that mean no series at hand, each once."""
    present = {entry for s in series for entry in ((s.patient, None), (s.patient, s.contrast))}
    named = {entry for fold in folds for entry in fold.train | fold.val}
    return sorted(named - present, key=lambda entry: (entry[0], entry[1] or ""))


def series_without_name(folds: list[PublishedFold], series: Iterable[Series]) -> list[str]:
    """Cases at hand that the file does not name in any fold."""
    named = {entry for fold in folds for entry in fold.train | fold.val}
    return sorted(s.case for s in series if not {(s.patient, None), (s.patient, s.contrast)} & named)


def _parse_fold(path: Path, number: int, fold: object) -> PublishedFold:
    keys = {"test", "val"} & set(fold) if isinstance(fold, dict) else set()
    if not isinstance(fold, dict) or "train" not in fold or len(keys) != 1:
        raise UserError(f"{path}: fold {number} must have train and one of test and val")
    return PublishedFold(
        frozenset(_parse_name(path, name) for name in _names(path, number, fold["train"])),
        frozenset(_parse_name(path, name) for name in _names(path, number, fold[keys.pop()])),
    )


def _names(path: Path, number: int, names: object) -> list[object]:
    if not isinstance(names, list):
        raise UserError(f"{path}: fold {number} must list names, found {type(names).__name__}")
    return names


def _parse_name(path: Path, name: object) -> Entry:
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise UserError(
            f"{path}: {name!r} is no name of a case; expected such as SPIDER_002, "
            "SPIDER_002_t1 or SPIDER_002_t1_084"
        )
    return canonical_patient(match["patient"]), match["contrast"]


def _check_no_leak(path: Path, folds: list[PublishedFold]) -> None:
    held_out_in: dict[str, int] = {}
    for number, fold in enumerate(folds):
        validated = {patient for patient, _ in fold.val}
        both = validated & {patient for patient, _ in fold.train}
        if both:
            raise UserError(
                f"{path}: patient {min(both)} is trained and validated on in fold {number}: "
                "put all series of a patient on one side"
            )
        for patient in sorted(validated):
            if patient in held_out_in:
                raise UserError(
                    f"{path}: patient {patient} is validated on in folds {held_out_in[patient]} "
                    f"and {number}: keep one of them"
                )
            held_out_in[patient] = number
