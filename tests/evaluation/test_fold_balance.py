"""Cases, patients and findings of folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dataset_conversion.published_splits import read_published_folds
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.findings import gradings_of
from nnunetv2_spinesegdiff.evaluation.fold_balance import fold_balance, folds_of, patient_of_case
from nnunetv2_spinesegdiff.files import save_json
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


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("SPIDER_002", "2"),
        ("SPIDER_002_t1_084", "2"),
        ("SPIDER_120_t2_SPACE", "120"),
        ("7_t1", "7"),
    ],
)
def test_a_name_begins_with_its_patient(name, patient):
    assert patient_of_case(name) == patient


@pytest.mark.parametrize("name", ["x10", "t1_005", "hospital_003_t1", ""])
def test_a_number_elsewhere_is_no_patient(name):
    with pytest.raises(ValueError, match="names no patient"):
        patient_of_case(name)


@pytest.mark.parametrize("style", ["SPIDER_{:03d}_{}", "SPIDER_{:03d}_{}_084"])
@pytest.mark.parametrize("key", ["val", "test"])
def test_folds_are_read_as_a_conversion_reads_them(tmp_path, key, style):
    content = splits(key, style=style)
    save_json(content, tmp_path / "splits.json")
    for fold, expected in zip(
        folds_of(content, "s.json"), read_published_folds(tmp_path / "splits.json"), strict=True
    ):
        assert fold.val_patients == {patient for patient, _ in expected.val}
        assert fold.train_patients == {patient for patient, _ in expected.train}


def test_prevalence_is_that_of_the_patients_who_are_validated_on():
    table = made_up_gradings(np.random.default_rng(1), 20)
    balance = fold_balance(folds_of(splits(), "s.json"), gradings_of(table, "g.csv"))
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
    balance = fold_balance(folds_of(splits(), "s.json"), gradings_of(table, "g.csv"))
    assert balance["graded"].tolist() == [2, 1, 0, 0, 0]
    assert balance["Modic changes"].tolist()[:2] == [100, 0]
    assert balance["Modic changes"].isna().tolist() == [False, False, True, True, True]


def test_names_listed_twice_count_once():
    content = splits()
    content[0]["train"] += content[0]["train"][:3]
    folds = folds_of(content, "s.json")
    assert [fold.repeated for fold in folds] == [3, 0, 0, 0, 0]
    assert len(folds[0].train) == 32


def _validated_twice(content):
    content[1]["val"].append("SPIDER_010_t2")
    content[1]["train"] = [name for name in content[1]["train"] if "010" not in name]


def _leaking(content):
    content[2]["train"].append("SPIDER_007_t1")


def _nameless(content):
    content[3]["val"].append("phantom")


def _without_val(content):
    del content[4]["val"]


def _not_a_list(content):
    content[4]["val"] = "SPIDER_004"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_validated_twice, ["patient 10", "folds 0 and 1"]),
        (_leaking, ["patient 7", "trained and validated on in fold 2"]),
        (_nameless, ["'phantom'", "fold 3"]),
        (_without_val, ["fold 4", "val and test"]),
        (_not_a_list, ["fold 4", "str"]),
        (list.clear, ["no list of folds"]),
    ],
)
def test_mistakes_are_told_in_one_line(spoil, words):
    content = splits()
    spoil(content)
    with pytest.raises(UserError) as error:
        folds_of(content, "s.json")
    assert str(error.value).startswith("s.json: ")
    assert all(word in str(error.value) for word in words), str(error.value)
