"""Folds of patients: dealt evenly, published by others, and faulty ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2_spinesegdiff.dataset_conversion.folds import (
    patient_folds,
    splits_by_patient,
    without_validation_of,
)
from nnunetv2_spinesegdiff.dataset_conversion.names import parse_series
from nnunetv2_spinesegdiff.dataset_conversion.published_splits import (
    apply_published_folds,
    names_without_series,
    read_folds,
    read_published_folds,
    series_without_name,
)
from nnunetv2_spinesegdiff.dataset_conversion.series import select_series
from nnunetv2_spinesegdiff.dataset_conversion.spider import find_series

from nnunetv2_spinesegdiff.errors import UserError

from ..helpers.spider_series import SHARED_DATA

RECORDED = [["2", "3"], ["5", "9"], ["1", "7"], ["10", "4"], ["6", "8"]]
TABLES = SHARED_DATA / "spider_tables"
PATIENTS = st.sets(st.integers(1, 300).map(str), min_size=5, max_size=80)


@given(PATIENTS, st.integers(0, 10**9), st.randoms())
def test_patients_are_dealt_evenly_and_reproducibly(patients, seed, random):
    folds = patient_folds(patients, seed)
    assert len(folds) == 5
    assert sorted(p for fold in folds for p in fold) == sorted(patients)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    shuffled = list(patients) * 2
    random.shuffle(shuffled)
    assert patient_folds(shuffled, seed) == folds


def test_the_seed_changes_the_folds_and_nothing_else_ever_does():
    patients = [str(n) for n in range(1, 11)]
    assert len({json.dumps(patient_folds(patients, seed)) for seed in range(20)}) == 20
    # Recorded: a later release must give a cohort the same folds, or results cannot be compared.
    assert patient_folds(patients, 12345) == RECORDED


@given(st.lists(st.integers(0, 2), min_size=5, max_size=60), st.integers(0, 100))
def test_the_patients_of_either_contrast_are_spread_evenly(strata, seed):
    """0: T1 alone, 1: both, 2: T2 alone."""
    of = {str(patient): stratum for patient, stratum in enumerate(strata)}
    folds = patient_folds(of, seed, stratum=of.__getitem__)
    for those in ({0, 1}, {1, 2}, {0, 1, 2}):
        counts = [sum(of[patient] in those for patient in fold) for fold in folds]
        assert max(counts) - min(counts) <= 1


@given(PATIENTS, st.integers(0, 100), st.data())
def test_no_patient_is_on_both_sides_and_every_case_is_validated_once(patients, seed, data):
    sequences = st.sets(st.sampled_from(["t1", "t2"]), min_size=1)
    names = [f"{patient}_{sequence}" for patient in sorted(patients) for sequence in data.draw(sequences)]
    patient_of = {s.case: s.patient for s in select_series(names)}
    splits = splits_by_patient(patient_of, patient_folds(patients, seed))
    for fold in splits:
        assert sorted(fold["train"] + fold["val"]) == sorted(patient_of)
        assert not {patient_of[c] for c in fold["train"]} & {patient_of[c] for c in fold["val"]}
    assert sorted(case for fold in splits for case in fold["val"]) == sorted(patient_of)

    oblique = data.draw(st.sets(st.sampled_from(sorted(patient_of))))
    kept = without_validation_of(splits, oblique)
    for before, after in zip(splits, kept, strict=True):
        assert after["train"] == before["train"]
        assert after["val"] == [case for case in before["val"] if case not in oblique]


@pytest.mark.skipif(not TABLES.is_dir(), reason=f"SPIDER's tables are not at {TABLES}")
def test_every_contrast_of_spider_has_the_same_folds(tmp_path):
    lines = (TABLES / "overview.csv").read_text().splitlines()[1:]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for line in lines:
            (tmp_path / folder / f"{line.split(',')[0]}.mha").touch()
    dealt: dict[str, set[int]] = {}
    for contrast, patients in (("t1", 196), ("t2", 212), ("t1t2", 218)):
        listing = find_series(tmp_path, contrast, "t2")
        at_hand = {source.series.patient for source in listing.sources}
        assert len(at_hand) == patients
        for number, fold in enumerate(patient_folds(listing.contrasts, 12345, stratum=listing.stratum)):
            for patient in at_hand & set(fold):
                dealt.setdefault(patient, set()).add(number)
    assert {len(folds) for folds in dealt.values()} == {1}


def _overview_series(contrast: str):
    lines = (TABLES / "overview.csv").read_text().splitlines()[1:]
    return select_series([line.split(",")[0] for line in lines], contrast)


@pytest.mark.skipif(not TABLES.is_dir(), reason=f"the authors' folds are not at {TABLES}")
@pytest.mark.parametrize(
    ("file", "contrast", "count"), [("T1w", "t1", 196), ("T2w", "t2", 212), ("T1wT2w", "t1t2", 408)]
)
def test_the_authors_folds_take_every_case_once(file, contrast, count):
    folds = read_published_folds(TABLES / f"authors_splits_{file}.json")
    series = _overview_series(contrast)
    assert names_without_series(folds, series) == []
    assert series_without_name(folds, series) == []
    splits = apply_published_folds(folds, series)
    patient_of = {s.case: s.patient for s in series}
    assert len(splits) == 5
    for fold in splits:
        assert sorted(fold["train"] + fold["val"]) == sorted(patient_of)
        assert not {patient_of[c] for c in fold["train"]} & {patient_of[c] for c in fold["val"]}
    assert len({case for fold in splits for case in fold["val"]}) == count == len(patient_of)


def _write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def _series(*names: str):
    return [parse_series(name) for name in names]


def test_a_name_without_contrast_means_every_series_of_the_patient(tmp_path):
    content = [{"train": ["SPIDER_002", "SPIDER_002"], "test": ["SPIDER_003_t2_017"]}]
    folds = read_published_folds(_write(tmp_path / "s.json", content))
    splits = apply_published_folds(folds, _series("2_t1", "2_t2_SPACE", "3_t1", "3_t2_SPACE"))
    assert splits == [{"train": ["SPIDER_002_t1", "SPIDER_002_t2_SPACE"], "val": ["SPIDER_003_t2_SPACE"]}]
    # A report understands patient 2 without a known contrast; a conversion would take all of its series.
    file = _write(tmp_path / "s.json", [{"train": ["SPIDER_2_t3"], "val": ["3_t1"]}])
    assert read_folds(file)[0].train_patients == {"2"}
    with pytest.raises(UserError, match="'SPIDER_2_t3' in fold 0"):
        read_published_folds(file)


def test_nnunets_own_shape(tmp_path):
    content = [{"train": ["SPIDER_002_t1"], "val": ["SPIDER_1003_t2_SPACE", "SPIDER_p4_t1"]}]
    series = _series("2_t1", "2_t2", "1003_t2_SPACE", "p4_t1")
    folds = read_published_folds(_write(tmp_path / "s.json", content))
    assert apply_published_folds(folds, series) == content
    assert series_without_name(folds, series) == ["SPIDER_002_t2"]
    assert names_without_series(folds, series[1:]) == [("2", "t1")]


VAL_T1, VAL_T2 = ({"train": [], "val": [f"SPIDER_{name}"]} for name in ("A12_t1", "A12_t2"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"train": ["SPIDER_001_t1"], "test": ["SPIDER_001_t2_003"]}], "patient 1 is trained and validated"),
        (
            [{"train": ["SPIDER_A12_t1"], "val": ["SPIDER_A12_t2_s05"]}],
            "patient A12 is trained and validated",
        ),
        ([VAL_T1, VAL_T2], "patient A12 is validated on in folds 0 and 1"),
        ([{"train": ["lumbar 3"], "val": []}], "'lumbar 3'"),
        ([{"train": [3], "val": []}], "3 in fold 0"),
        ([{"train": "SPIDER_001", "val": []}], "fold 0 must list names"),
        ([{"train": []}], "fold 0 must have train"),
        ([{"train": [], "val": [], "test": []}], "fold 0 must have train"),
        ([["SPIDER_001"]], "fold 0 must have"),
        ({"train": [], "val": []}, "list of folds"),
        ([], "list of folds"),
        (None, "JSON"),
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\x00", "JSON"),
    ],
)
@pytest.mark.parametrize("read", [read_published_folds, read_folds])
def test_faulty_folds_are_one_line_that_names_the_file(tmp_path, content, message, read):
    file = tmp_path / "splits.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(UserError, match=rf"^{file}: [^\n]*{message}[^\n]*$"):
        read(file)
