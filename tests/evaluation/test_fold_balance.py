"""Cases, patients and findings of folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from nnunetv2_spinesegdiff.dataset_conversion.published_splits import parse_folds

from nnunetv2_spinesegdiff.evaluation.findings import gradings_of
from nnunetv2_spinesegdiff.evaluation.fold_balance import fold_balance

from ..helpers.synthetic_scores import synthetic_gradings


def splits():
    """Five folds of 20 patients with two cases each."""
    cases = {fold: [f"SPIDER_{p:03d}_{c}" for p in range(1, 21) for c in ("t1", "t2") if p % 5 == fold]
             for fold in range(5)}  # fmt: skip
    return [
        {"train": [case for other in cases if other != fold for case in cases[other]], "val": cases[fold]}
        for fold in cases
    ]


def test_prevalence_is_that_of_the_patients_who_are_validated_on():
    table = synthetic_gradings(np.random.default_rng(1), 20)
    balance = fold_balance(parse_folds(splits(), "s.json"), gradings_of(table, "g.csv"))
    counts = balance[["val_cases", "val_patients", "train_cases", "train_patients", "graded"]]
    assert (counts == [8, 4, 32, 16, 4]).all(axis=None)
    for fold, row in balance.iterrows():
        with_slip = table[table["Patient"] % 5 == fold].groupby("Patient")["Spondylolisthesis"].max()
        assert row["Spondylolisthesis"] == pytest.approx(100 * with_slip.mean())


def test_patients_without_gradings_are_not_in_the_prevalence():
    table = pd.DataFrame({"Patient": [5, 10, 1], "IVD label": 1, "Modic": ["1", "", "0"]})
    balance = fold_balance(parse_folds(splits(), "s.json"), gradings_of(table, "g.csv"))
    assert balance["graded"].tolist() == [2, 1, 0, 0, 0]
    assert balance["Modic changes"].tolist()[:2] == [100, 0]
    assert balance["Modic changes"].isna().tolist() == [False, False, True, True, True]


def test_names_listed_twice_count_once():
    content = splits()
    content[0]["train"] += content[0]["train"][:3]
    folds = parse_folds(content, "s.json")
    assert [fold.repeated for fold in folds] == [3, 0, 0, 0, 0]
    assert len(folds[0].train) == 32
