"""Counts of a cohort."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dataset_conversion.series import select_series
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.cohort import (
    contrast_counts,
    finding_counts,
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
    assert row["patients"] == f"{row['count']} ({2 * row['count']:.2f}%)"


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
    assert found.not_series == ("notes", "nan")
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
