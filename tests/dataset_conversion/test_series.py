"""The series of a cohort that a dataset takes."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2_spinesegdiff.dataset_conversion.names import parse_series
from nnunetv2_spinesegdiff.dataset_conversion.series import select_series

from ..helpers.spider_series import SHARED_DATA

OVERVIEW = SHARED_DATA / "spider_tables" / "overview.csv"


@pytest.mark.skipif(not OVERVIEW.is_file(), reason=f"SPIDER's tables are not at {OVERVIEW}")
@pytest.mark.parametrize("t2_source", ["t2", "space"])
@pytest.mark.parametrize(("contrast", "count"), [("t1", 196), ("t2", 212), ("t1t2", 408)])
def test_the_published_numbers_of_cases(contrast, count, t2_source):
    with OVERVIEW.open(newline="") as file:
        names = [row["new_file_name"] for row in csv.DictReader(file)]
    chosen = select_series(names, contrast, t2_source)
    assert len(chosen) == count
    assert len({series.case for series in chosen}) == count
    spaces = sum(series.sequence == "t2_SPACE" for series in chosen)
    assert spaces == {"t1": 0}.get(contrast, {"t2": 2, "space": 41}[t2_source])


def test_case_names():
    names = [parse_series(name).case for name in ("1_t1", "12_t2", "136_t2_SPACE", "1001_t1", "p4_t1")]
    cases = ["001_t1", "012_t2", "136_t2_SPACE", "1001_t1", "p4_t1"]
    assert names == [f"SPIDER_{case}" for case in cases]


@pytest.mark.parametrize(
    ("t2_source", "expected"),
    [
        ("t2", ["1_t2", "1_t2_s05", "2_t2_SPACE", "3_t2"]),
        ("space", ["1_t2_SPACE", "2_t2_SPACE", "3_t2"]),
        ("both", ["1_t2", "1_t2_s05", "1_t2_SPACE", "2_t2_SPACE", "3_t2"]),
    ],
)
def test_which_t2_series(t2_source, expected):
    names = ["1_t2", "1_t2_s05", "1_t2_SPACE", "2_t2_SPACE", "3_t2"]
    assert sorted(s.stem for s in select_series(names, "t2", t2_source)) == sorted(expected)


@pytest.mark.parametrize(
    "names", [["1_t1.mha", "001_t1.mha"], ["1_t2_s05.mha", "001_t2_s05.mha"], ["1_t2_s5.mha", "1_t2_s05.mha"]]
)
def test_repeated_names_are_rejected(names):
    with pytest.raises(ValueError, match=" and ".join(names)):
        select_series(names)


SEQUENCES = st.sampled_from(["t1", "t2", "t2_SPACE"])


@given(
    st.lists(st.tuples(st.integers(1, 40), SEQUENCES), unique=True),
    st.sampled_from(["t1", "t2", "t1t2"]),
    st.sampled_from(["t2", "space"]),
    st.randoms(),
)
def test_one_series_a_patient_and_contrast_whatever_the_order(series, contrast, t2_source, random):
    names = [f"{patient}_{sequence}.mha" for patient, sequence in series]
    chosen = select_series(names, contrast, t2_source)
    assert sorted((s.patient, s.contrast) for s in chosen) == sorted(
        {(str(patient), sequence[:2]) for patient, sequence in series if sequence[:2] in contrast}
    )
    assert [int(s.patient) for s in chosen] == sorted(int(s.patient) for s in chosen)
    random.shuffle(names)
    assert select_series(names, contrast, t2_source) == chosen
