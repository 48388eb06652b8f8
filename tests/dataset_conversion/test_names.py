"""File names, case names and names in files of folds: the same patient wherever one is read."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2_spinesegdiff.dataset_conversion.names import (
    SEQUENCES,
    Entry,
    Series,
    canonical_patient,
    parse_case,
    parse_entry,
    parse_name,
    parse_series,
    patient_of,
    patient_order,
    without_slice,
)
from nnunetv2_spinesegdiff.dataset_conversion.published_splits import Fold

from nnunetv2_spinesegdiff.evaluation.cohort import overview_of
from nnunetv2_spinesegdiff.evaluation.report.patients import CONTRASTS, CaseOrigin, Patients

NUMBERED = st.builds(lambda number, width: str(number).zfill(width), st.integers(0, 99999), st.integers(1, 6))
NAMED = st.from_regex(r"[A-Za-z0-9-]{1,8}", fullmatch=True)
KNOWN = st.sampled_from(["7", "007", "153", "A12", "a12", "sub-04", "t1", "t2", "s05", "SPACE", "-7", "NA"])
PATIENTS = st.one_of(NUMBERED, NAMED, KNOWN).filter(lambda name: name != "SPIDER")
SLICES = st.none() | st.integers(0, 400)


def stem_of(patient: str, sequence: str, number: int | None) -> str:
    return f"{patient}_{sequence}" + ("" if number is None else f"_s{number:02d}")


@given(PATIENTS, st.sampled_from(SEQUENCES), SLICES)
def test_a_case_name_is_read_as_the_series_it_was_made_of(patient, sequence, number):
    series = parse_series(stem_of(patient, sequence, number) + ".mha")
    assert (series.patient, series.sequence, series.slice_number) == (
        canonical_patient(patient),
        sequence,
        number,
    )
    again = parse_case(series.case)
    assert again.case == series.case
    assert (again.patient, again.sequence, again.slice_number) == (series.patient, sequence, number)
    assert parse_series(again.file_name) == again
    assert without_slice(series.case) == parse_series(stem_of(patient, sequence, None)).case


@given(PATIENTS, st.sampled_from(SEQUENCES), SLICES)
def test_every_name_of_a_patient_has_the_same_patient_and_contrast(patient, sequence, number):
    file = stem_of(patient, sequence, number)
    case = parse_series(file).case
    whole = case.removesuffix(file.removeprefix(patient))
    canonical, contrast = canonical_patient(patient), sequence[:2]
    running = f"{whole}_{sequence}_084"
    assert parse_name(file) == Entry(canonical, contrast)
    for name in (case, running):
        assert parse_entry(name) == parse_name(name) == Entry(canonical, contrast)
    assert parse_entry(whole) == parse_name(whole) == Entry(canonical, None)
    for name in (file, case, running):
        assert Patients([])(name) == CaseOrigin(canonical, CONTRASTS[contrast])
    fold = Fold((file, case), (running, whole))
    assert fold.train_patients == fold.val_patients == {canonical}
    overview = overview_of(pd.DataFrame({"new_file_name": [f"{patient}_{sequence}.mha"]}), "o.csv").series
    assert overview[["patient", "sequence"]].to_numpy().tolist() == [[canonical, sequence]]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("SPIDER_002", "2"),
        ("SPIDER_002_t1_084", "2"),
        ("SPIDER_120_t2_SPACE", "120"),
        ("spider_002_T1", "2"),
        ("7_t1", "7"),
        ("007", "7"),
        ("2_t1_predicted", "2"),
        ("SPIDER_A12", "A12"),
        ("SPIDER_A12_t2_017", "A12"),
        ("sub-04_t2_SPACE", "sub-04"),
        # One patient too many is seen in a table; scans of several patients under one name are not.
        *(
            (name, None)
            for name in (
                *("x10", "t1_005", "hospital_003_t1", "", "phantom", "P12_03_t2", "A12_t1_084", "A12_T1"),
                *("spine_t2_001", "SPIDER_A12_predicted", "spider_A12_t1", "SPIDER_", "SPIDER_SPIDER_t1"),
                "A12_t1.mha",
            )
        ),
    ],
)
def test_the_patient_of_a_name(name, patient):
    assert patient_of(name) == patient
    assert (parse_name(name) is None) == (patient is None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1_t1.mha", Series("1", "t1", "1_t1")),
        ("001_t2", Series("1", "t2", "001_t2")),
        ("136_t2_SPACE.mha", Series("136", "t2_SPACE", "136_t2_SPACE")),
        ("p-4_t1", Series("p-4", "t1", "p-4_t1")),
        *(
            (name, None)
            for name in (
                *("1_t3", "1", "_t1", "1_t1_2", "1_T1", "1_t2_space", "1_t1.nii.gz", "SPIDER_t1"),
                *("SPIDER_t2_SPACE", "1_t2_s", "1_t2_s-1", "1_t2_05", "1_t2_s05_s06", "1_s05"),
            )
        ),
    ],
)
def test_names_of_series(name, expected):
    assert parse_series(name) == expected


@given(st.lists(PATIENTS))
def test_patients_are_ordered_by_number_and_then_by_name(patients):
    ordered = sorted(map(canonical_patient, patients), key=patient_order)
    numbers = [int(patient) for patient in ordered if patient.isdecimal()]
    assert numbers == sorted(numbers)
    assert ordered[len(numbers) :] == sorted(patient for patient in ordered if not patient.isdecimal())
