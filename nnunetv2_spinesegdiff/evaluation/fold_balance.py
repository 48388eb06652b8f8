"""Are the folds of a cross-validation alike? Cases, patients and findings of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import UserError
from .cohort import TABLE_3
from .findings import Gradings

_CASE = re.compile(r"(?:SPIDER_)?(\d+)(?:_.*)?", re.IGNORECASE)
COUNTS = ("train_cases", "train_patients", "val_cases", "val_patients", "graded")


@dataclass(frozen=True)
class Fold:
    """Names of cases, each once; `repeated` of them were listed again."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    repeated: int = 0

    @property
    def train_patients(self) -> set[str]:
        return set(map(patient_of_case, self.train))

    @property
    def val_patients(self) -> set[str]:
        return set(map(patient_of_case, self.val))


def folds_of(content: object, source: str) -> list[Fold]:
    """Folds from what a JSON file of them holds: nnU-Net's splits_final.json, or one with "test" for "val".

    Raises:
        UserError: not such a content, a name without a number, or a patient who is validated on in two folds
            or trained and validated on in one.
    """
    if not isinstance(content, list) or not content:
        raise UserError(f"{source}: is no list of folds; give a splits_final.json")
    folds = []
    for number, fold in enumerate(content):
        keys = {"val", "test"} & set(fold) if isinstance(fold, dict) else set()
        if len(keys) != 1 or "train" not in fold:
            raise UserError(
                f"{source}: fold {number} must have train and one of val and test; give such a file"
            )
        train, val = (_names(fold[key], number, source) for key in ("train", keys.pop()))
        once = tuple(dict.fromkeys(train)), tuple(dict.fromkeys(val))
        folds.append(Fold(*once, len(train) + len(val) - sum(map(len, once))))
    _check_no_leak(folds, source)
    return folds


def patient_of_case(name: str) -> str:
    """ "2" of "SPIDER_002_t1_084", of "2_t1", and of the authors' "SPIDER_002"."""
    found = _CASE.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} names no patient")
    return str(int(found[1]))


def fold_balance(folds: list[Fold], gradings: Gradings) -> pd.DataFrame:
    """A row a fold: `fold`, `COUNTS`, and for each finding the percent of patients that have it.

    `graded` are the patients that are validated on and have gradings; percents are of those of them who were
    graded for the finding, NaN where there are none.
    """
    patients = gradings.by_patient
    rows = []
    for number, fold in enumerate(folds):
        mine = patients[patients.index.isin(fold.val_patients)]
        prevalence = {
            name: 100 * float(mine[name].mean()) if mine[name].notna().any() else np.nan
            for name in TABLE_3
            if name in mine
        }
        values = (fold.train, fold.train_patients, fold.val, fold.val_patients, mine)
        counts = {name: len(value) for name, value in zip(COUNTS, values, strict=True)}
        rows.append({"fold": number, **counts, **prevalence})
    return pd.DataFrame(rows)


def _names(names: object, number: int, source: str) -> list[str]:
    if not isinstance(names, list):
        raise UserError(f"{source}: fold {number} must list names of cases, found {type(names).__name__}")
    for name in names:
        if not isinstance(name, str) or not _CASE.fullmatch(name):
            raise UserError(
                f"{source}: {name!r} in fold {number} names no patient; "
                "expected a name that begins with the patient's number, such as SPIDER_002_t1"
            )
    return names


def _check_no_leak(folds: list[Fold], source: str) -> None:
    validated_in: dict[str, int] = {}
    for number, fold in enumerate(folds):
        if both := fold.train_patients & fold.val_patients:
            raise UserError(
                f"{source}: patient {min(both, key=int)} is trained and validated on in fold {number}; "
                "put all cases of a patient on one side"
            )
        for patient in sorted(fold.val_patients, key=int):
            if patient in validated_in:
                raise UserError(
                    f"{source}: patient {patient} is validated on in folds {validated_in[patient]} "
                    f"and {number}; keep one of them"
                )
            validated_in[patient] = number
