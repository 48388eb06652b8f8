"""Counts of a cohort and of its folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from nnunetv2_spinesegdiff.dataset_conversion.published_splits import parse_folds

from dataset_conversion.series import select_series
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.cohort import (
    contrast_counts,
    finding_counts,
    fold_balance,
    overview_of,
    spacing_numbers,
    spacing_ranges,
)
from nnunetv2_spinesegdiff.evaluation.findings import gradings_of

from ..helpers.synthetic_scores import synthetic_gradings


def overview(names, **columns):
    return overview_of(pd.DataFrame({"new_file_name": names, **columns}), "o.csv")


def test_findings_are_counted_by_patient_and_by_disc():
    table = synthetic_gradings(np.random.default_rng(0), 50)
    counts = finding_counts(gradings_of(table, "g.csv")).set_index("finding")
    slips = table[table["Spondylolisthesis"] > 0]
    row = counts.loc["Spondylolisthesis"]
    assert (row["count"], row["discs"]) == (slips["Patient"].nunique(), len(slips))
    assert (row["total"], row["unknown"], row["graded_discs"]) == (50, 0, 350)
    assert row["percent"] == pytest.approx(2 * row["count"])
    assert str(row["patients"]) == f"{row['count']} ({2 * row['count']:.2f}%)"


@pytest.mark.parametrize("seed", range(5))
def test_contrasts_are_those_that_a_conversion_takes(seed):
    rng = np.random.default_rng(seed)
    sequences = ("t1", "t2", "t2_SPACE")
    names = [f"{p}_{s}" for p in range(1, 40) for s in sequences if rng.random() < 0.6]
    counts = contrast_counts(overview(names).series).set_index("item")
    for item, contrast in (("T1w", "t1"), ("T2w", "t2"), ("T1w+T2w", "t1t2")):
        chosen = select_series(names, contrast)
        assert counts.loc[item, "count"] == len(chosen)
        assert counts.loc[item, "patients"] == len({series.patient for series in chosen})
    for sequence in sequences:
        assert counts.loc[sequence, "count"] == sum(name.split("_", 1)[1] == sequence for name in names)


def test_other_names_and_missing_columns_are_listed():
    found = overview(["1_t1", "notes", "2_t2.mha", None], sex="F")
    assert found.not_series == ("notes", "(no name)")
    assert found.series[["patient", "sequence"]].to_numpy().tolist() == [["1", "t1"], ["2", "t2"]]
    assert {"subset", "Manufacturer", "PixelSpacing"} <= set(found.missing)
    assert "sex" not in found.missing
    assert spacing_ranges(found.series).empty


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("[0.625, 0.625]", (0.625, 0.625)),
        ("[.5859375, .5859375]", (0.5859375, 0.5859375)),
        ("3.3", (3.3,)),
        ("0.5\\0.5", (0.5, 0.5)),
        ("", ()),
        ("wide", ()),
        ("[0.5, ?]", ()),
        ("-1", ()),
        ("nan", ()),
    ],
)
def test_spacings_are_read(text, numbers):
    assert spacing_numbers(text) == numbers


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"name": ["1_t1"]}, "new_file_name"),
        ({"new_file_name": ["scan"]}, "no series"),
        ({"new_file_name": ["1_t1", "001_t1.mha"]}, "1_t1"),
    ],
)
def test_unusable_overviews_are_named(table, word):
    with pytest.raises(UserError, match=rf"^o\.csv: .*{word}"):
        overview_of(pd.DataFrame(table), "o.csv")


def splits():
    """Five folds of 20 patients with two cases each."""
    names = {f"SPIDER_{p:03d}_{c}": p % 5 for p in range(1, 21) for c in ("t1", "t2")}
    return [
        {
            "train": [n for n, fold in names.items() if fold != out],
            "val": [n for n in names if names[n] == out],
        }
        for out in range(5)
    ]


def test_prevalence_is_that_of_the_validation_patients():
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
