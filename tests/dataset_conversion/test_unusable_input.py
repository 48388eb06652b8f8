"""Inputs and options with which nothing can be done: one line, and nothing is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from nnunetv2_spinesegdiff.dataset_conversion.convert import convert

from nnunetv2_spinesegdiff.errors import UserError

from .converting import contents, image_missing, run
from .made_up import write_series


def _no_folder(spider: Path) -> str:
    spider.rename(spider.parent / "elsewhere")
    return "no such folder"


def _no_images(spider: Path) -> str:
    (spider / "images").rename(spider / "scans")
    return "images: no such folder"


def _no_masks(spider: Path) -> str:
    (spider / "masks").rename(spider / "labels")
    return "masks: no such folder"


def _empty(spider: Path) -> str:
    for path in (spider / "images").iterdir():
        path.unlink()
    return "holds no .mha file"


def _other_names(spider: Path) -> str:
    for path in (spider / "images").iterdir():
        path.rename(path.with_name(f"scan-{path.name.replace('_', '')}"))
    return "none of the 12 .mha files is a series"


def _only_t2(spider: Path) -> str:
    for path in spider.glob("*/*_t1.mha"):
        path.unlink()
    return "none of the 6 .mha files is a series for contrast t1"


def _twice(spider: Path) -> str:
    write_series(spider, "001_t1")
    return "mean the same series"


def _four_patients(spider: Path) -> str:
    for path in spider.glob("*/[12]_*.mha"):
        path.unlink()
    return "4 patients are too few for 5 folds"


@pytest.mark.parametrize(
    "damage", [_no_folder, _no_images, _no_masks, _empty, _other_names, _only_t2, _twice, _four_patients]
)
def test_an_unusable_input_is_one_line_and_nothing_is_written(own_cohort, tmp_path, damage):
    message = damage(own_cohort)
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
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("dataset_id", [0, -3, 1000])
def test_ids_that_nnunet_does_not_take(cohort, tmp_path, dataset_id):
    with pytest.raises(UserError, match="1 to 999"):
        convert(cohort, dataset_id, nnunet_raw=tmp_path, nnunet_preprocessed=tmp_path)


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
def test_another_series_does_not_stand_in_for_a_lost_one(own_cohort, tmp_path, t2_source, lost, other):
    write_series(own_cohort, "3_t2_SPACE")
    assert run(own_cohort, tmp_path, contrast="t2", t2_source=t2_source).failures == []
    (own_cohort / "images" / f"{lost}.mha").unlink()
    report = run(own_cohort, tmp_path, contrast="t2", t2_source=t2_source)
    assert [failure.file for failure in report.failures] == [f"{lost}.mha"]
    assert other not in " ".join(case.case for case in report.cases)
    assert len(report.cases) == 5


def test_what_another_contrast_lacks_is_no_failure(own_cohort, tmp_path):
    image_missing(own_cohort)
    report = run(own_cohort, tmp_path, contrast="t2")
    assert report.failures == []
    assert len(report.cases) == 6
