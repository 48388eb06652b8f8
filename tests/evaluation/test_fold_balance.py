"""Cases, patients and findings of folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from nnunetv2_spinesegdiff.dataset_conversion.published_splits import parse_folds

from nnunetv2_spinesegdiff.evaluation.findings import gradings_of
from nnunetv2_spinesegdiff.evaluation.fold_balance import fold_balance
from tests.made_up_scores import made_up_gradings


def splits(key="val", patients=20, style="SPIDER_{:03d}_{}"):
    folds = []
    for fold in range(5):
        sides = {
            side: [
                style.format(patient, contrast)
                for patient in range(1, patients + 1)
                for contrast in ("t1", "t2")
                if (patient % 5 == fold) == (side == key)
            ]
            for side in ("train", key)
        }
        folds.append(sides)
    return folds


def test_prevalence_is_that_of_the_patients_who_are_validated_on():
    table = made_up_gradings(np.random.default_rng(1), 20)
    balance = fold_balance(parse_folds(splits(), "s.json"), gradings_of(table, "g.csv"))
    for fold, row in balance.iterrows():
        mine = table[table["Patient"] % 5 == fold]
        assert (row["val_cases"], row["val_patients"], row["train_cases"], row["train_patients"]) == (
            8,
            4,
            32,
            16,
        )
        assert row["graded"] == 4
        with_slip = mine.groupby("Patient")["Spondylolisthesis"].max().mean()
        assert row["Spondylolisthesis"] == pytest.approx(100 * with_slip)


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
