"""Are the folds of a cross-validation alike? Cases, patients and findings of each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..dataset_conversion.published_splits import Fold
from .cohort import TABLE_3
from .findings import Gradings

COUNTS = ("train_cases", "train_patients", "val_cases", "val_patients", "graded")


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
