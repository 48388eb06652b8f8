"""Inputs and options with which nothing can be done: one line, and nothing is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from nnunetv2_spinesegdiff.dataset_conversion.convert import convert

from nnunetv2_spinesegdiff.errors import UserError

from ..helpers.converting import contents, image_missing, run
from ..helpers.spider_series import write_series


def remove(spider: Path, pattern: str) -> None:
    for path in spider.glob(pattern):
        path.unlink()


def rename(spider: Path) -> None:
    for path in (spider / "images").iterdir():
        path.rename(path.with_name(f"scan-{path.name.replace('_', '')}"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda spider: spider.rename(spider.parent / "elsewhere"), "no such folder"),
        (lambda spider: (spider / "images").rename(spider / "scans"), "images: no such folder"),
        (lambda spider: (spider / "masks").rename(spider / "labels"), "masks: no such folder"),
        (lambda spider: remove(spider, "images/*"), "no .mha file"),
        (rename, "none of the 12 .mha files"),
        (lambda spider: remove(spider, "*/*_t1.mha"), "contrast t1"),
        (lambda spider: write_series(spider, "001_t1"), "same series"),
        (lambda spider: remove(spider, "*/[12]_*.mha"), "4 patients"),
        (lambda spider: remove(spider, "*/[56]_t1.mha"), "fold 4"),
    ],
)
def test_an_unusable_input_is_one_line_and_nothing_is_written(own_cohort, tmp_path, damage, message):
    damage(own_cohort)
    with pytest.raises(UserError, match=message) as caught:
        run(own_cohort, tmp_path, contrast="t1")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "raw").exists()
    assert not (tmp_path / "preprocessed").exists()


@pytest.mark.parametrize(
    "option",
    [
        {"contrast": "t3"},
        {"t2_source": "flair"},
        {"partial_vertebrae": "keep"},
        {"slices": "some"},
        {"dim": "4d"},
        {"max_oblique_deg": -1.0},
        {"max_oblique_deg": float("nan")},
        {"num_processes": 0},
        {"dataset_name": "a b"},
        {"dataset_name": ""},
    ],
)
def test_unusable_options(cohort, tmp_path, option):
    with pytest.raises(UserError):
        run(cohort, tmp_path, **option)
    for dataset_id in (0, -3, 1000):
        with pytest.raises(UserError, match="1 to 999"):
            convert(cohort, dataset_id, nnunet_raw=tmp_path / "raw", nnunet_preprocessed=tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("root", ["raw", "preprocessed", "results"])
def test_an_id_that_belongs_to_another_dataset(cohort, tmp_path, root):
    (tmp_path / root / "Dataset501_Heart").mkdir(parents=True)
    with pytest.raises(UserError, match=r"Dataset501_Heart: the id 501 belongs to that dataset"):
        run(cohort, tmp_path, nnunet_results=tmp_path / "results")
    assert not (tmp_path / "raw" / "Dataset501_SPIDER").exists()


@pytest.mark.parametrize(
    "file", ["imagesTr/heart_001_0000.nii.gz", "labelsTr/SPIDER_001_t1.nii.gz", "dataset.json"]
)
def test_a_dataset_of_somebody_else_is_not_mixed_with(cohort, tmp_path, file):
    path = tmp_path / "raw" / "Dataset501_SPIDER" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"theirs")
    with pytest.raises(UserError, match="choose another dataset id"):
        run(cohort, tmp_path)
    assert contents(tmp_path / "raw") == {f"Dataset501_SPIDER/{file}": hashlib.sha256(b"theirs").hexdigest()}


@pytest.mark.parametrize("file", ["images/7_flair.mha", "images/7_T1.mha", "masks/7_t1.MHA"])
def test_files_with_other_names_are_mentioned(own_cohort, tmp_path, file):
    (own_cohort / file).write_bytes(b"")
    report = run(own_cohort, tmp_path)
    assert report.counts["ignored_files"] == 1
    assert any(file in note for note in report.notes)
    assert len(report.cases) == 12


@pytest.mark.parametrize(
    ("t2_source", "lost", "other"), [("t2", "3_t2", "3_t2_SPACE"), ("space", "3_t2_SPACE", "3_t2")]
)
def test_another_series_does_not_replace_a_lost_one(own_cohort, tmp_path, t2_source, lost, other):
    write_series(own_cohort, "3_t2_SPACE")
    image_missing(own_cohort)  # of another contrast: no failure here
    assert run(own_cohort, tmp_path, contrast="t2", t2_source=t2_source).failures == []
    (own_cohort / "images" / f"{lost}.mha").unlink()
    report = run(own_cohort, tmp_path, contrast="t2", t2_source=t2_source)
    assert [failure.file for failure in report.failures] == [f"{lost}.mha"]
    assert other not in " ".join(case.case for case in report.cases)
    assert len(report.cases) == 5
