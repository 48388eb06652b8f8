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
    only_in_one,
    overview_of,
    patient_shares,
    series_shares,
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


def test_sexes_are_of_patients_and_without_stray_blanks():
    found = overview(
        ["1_t1", "1_t2", "2_t1", "2_t2", "3_t1", "4_t1", "4_t2"],
        sex=["F ", "F", " M", "M", None, "F", "M"],
        subset=["training"] * 7,
    )
    assert found.stray_blanks == (("sex", 2),)
    shares = patient_shares(found.series, "sex").set_index("item")
    assert shares["count"].to_dict() == {"F": 1, "M": 1, "unknown": 1, "F / M": 1}
    assert set(shares["total"]) == {4}
    assert patient_shares(found.series, "subset")["percent"].tolist() == [100]


def test_a_series_without_an_entry_is_unknown():
    found = overview(["1_t1", "1_t2", "2_t1"], Manufacturer=["SIEMENS", "", "SIEMENS"])
    shares = series_shares(found.series, "Manufacturer").set_index("item")
    assert shares["count"].to_dict() == {"SIEMENS": 2, "unknown": 1}
    assert shares.loc["SIEMENS", "percent"] == pytest.approx(200 / 3)


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


def test_spacings_that_are_missing_are_counted_and_not_replaced():
    found = overview(
        ["1_t1", "2_t1", "3_t2"],
        PixelSpacing=["[0.5, 0.6]", "", "[0.9, 0.9]"],
        SpacingBetweenSlices=["", "4.4", "?"],
        SliceThickness=["3", "4", "4"],
    )
    ranges = spacing_ranges(found.series).set_index(["spacing", "sequence"])
    whole = ranges.loc[("PixelSpacing", "all")]
    assert (whole["known"], whole["missing"], whole["low"], whole["high"]) == (2, 1, 0.5, 0.9)
    step = ranges.loc[("SpacingBetweenSlices", "t1")]
    assert (step["known"], step["missing"], step["low"]) == (1, 1, 4.4)
    assert np.isnan(ranges.loc[("SpacingBetweenSlices", "t2"), "median"])
    assert ("PixelSpacing", "t2_SPACE") not in ranges.index


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


def test_patients_of_one_table_only():
    table = pd.DataFrame({"Patient": ["1", "2"], "IVD label": 1, "Modic": 0})
    graded = gradings_of(table, "g.csv")
    assert only_in_one(graded, overview(["002_t1", "3_t1", "3_t2"]).series) == (["1"], ["3"])
