"""Slices as cases of their own, pixels that nobody annotated, and series spread over several folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion import cases
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice
from nnunetv2_spinesegdiff.dataset_conversion.label_rules import dataset_labels, map_labels
from nnunetv2_spinesegdiff.dataset_conversion.names import parse_series

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm

from ..helpers.converting import contents, folds_of, run, truncated, validated
from ..helpers.spider_series import SHARED_DATA, write_series

SLICES = 5
UNKNOWN = 255


def written(report, case: str) -> tuple[sitk.Image, np.ndarray]:
    image = sitk.ReadImage(str(report.dataset / "imagesTr" / f"{case}_0000.nii.gz"))
    return image, sitk.GetArrayFromImage(sitk.ReadImage(str(report.dataset / "labelsTr" / f"{case}.nii.gz")))


def repaint(path: Path, change) -> None:
    """Apply `change` to the array of a file of SLICES_LAST order, indexed (slice, row, column)."""
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    change(array)
    new = sitk.GetImageFromArray(array)
    new.CopyInformation(image)
    sitk.WriteImage(new, str(path), useCompression=True)


def write_slice(root: Path, name: str, seed: int) -> None:
    """A series of one slice."""
    write_series(root, name, seed=seed)
    for folder in ("images", "masks"):
        path = str(root / folder / f"{name}.mha")
        sitk.WriteImage(sitk.ReadImage(path)[:, :, 2:3], path)


@pytest.fixture
def spider(tmp_path) -> Path:
    """Six patients with a T1w series; the outermost slice of patient 1 holds no label."""
    root = tmp_path / "spider"
    for patient in range(1, 7):
        write_series(root, f"{patient}_t1", seed=patient)

    def clear_first(mask):
        mask[0] = 0

    repaint(root / "masks" / "1_t1.mha", clear_first)
    return root


def test_every_labelled_slice_becomes_a_case_at_its_own_place(spider, tmp_path):
    report = run(spider, tmp_path, slices="each")
    assert not report.failures
    of_first = [case for case in report.cases if case.patient == "1"]
    assert len(of_first) == SLICES - 1
    assert report.counts["unlabelled"] == 1
    assert len(report.cases) == 6 * SLICES - 1
    volume = sitk.ReadImage(str(spider / "images" / "1_t1.mha"))
    labels = sitk.ReadImage(str(spider / "masks" / "1_t1.mha"))
    for case in of_first:
        image, label = written(report, case.case)
        assert case.case == f"SPIDER_001_t1_s{case.slice_index:02d}"
        expected = extract_slice(volume, slices=case.slice_index).image
        assert grids_differ_by_mm(Grid.of(image), Grid.of(expected)) < 1e-3
        numbers = sitk.GetArrayFromImage(extract_slice(labels, slices=case.slice_index, is_label=True).image)
        np.testing.assert_array_equal(label, map_labels(numbers))
    conversion = json.loads((report.dataset / "dataset.json").read_text())["conversion"]
    assert conversion == {"slices": "middle", "dim": "2d"}  # a scan is cut slice by slice for such a model


def test_workers_give_the_same_files_and_finished_slices_are_kept(spider, tmp_path, forked_workers):
    alone = run(spider, tmp_path / "alone", slices="each")
    assert validated(alone) == sorted(case.case for case in alone.cases)
    together = run(spider, tmp_path / "together", slices="each", num_processes=2)

    def files(report):  # records hold times
        return {name: sha for name, sha in contents(report.dataset).items() if "conversion" not in name}

    assert files(alone) == files(together)
    repaint(spider / "masks" / "2_t1.mha", lambda mask: mask.__setitem__(mask > 0, 201))
    again = run(spider, tmp_path / "alone", slices="each")
    assert (again.counts["kept"], again.counts["converted"]) == (5 * SLICES - 1, SLICES)
    assert set(np.unique(written(again, "SPIDER_002_t1_s02")[1])) == {0, 3}


def test_a_broken_file_is_one_failure_however_many_slices_it_has(spider, tmp_path, monkeypatch):
    read, reads = cases.read_image_and_mask, []

    def counted(source):
        reads.append(source)
        return read(source)

    monkeypatch.setattr(cases, "read_image_and_mask", counted)
    truncated(spider)
    write_series(spider, "6_t2", numbers=(101, 102))
    report = run(spider, tmp_path, slices="each", partial_vertebrae="background")
    assert sorted(failure.file for failure in report.failures) == ["3_t1.mha", "6_t2.mha"]
    assert {case.patient for case in report.cases} == {"1", "2", "4", "5", "6"}
    assert report.counts["unlabelled"] == 1  # the slice of patient 1
    assert len(reads) == 7, "a volume is read once"


@pytest.mark.parametrize("slices", ["middle", "each", "all"])
def test_pixels_that_nobody_annotated_become_the_ignore_label(spider, tmp_path, slices):
    def half_unknown(mask):
        mask[:, :20] = UNKNOWN

    repaint(spider / "masks" / "2_t1.mha", half_unknown)
    report = run(spider, tmp_path, slices=slices, ignore_label=UNKNOWN)
    assert not report.failures
    assert json.loads((report.dataset / "dataset.json").read_text())["labels"] == dataset_labels("ignore")
    source = extract_slice(sitk.ReadImage(str(spider / "masks" / "2_t1.mha")), is_label=True).image
    case = "SPIDER_002_t1_s02" if slices == "each" else "SPIDER_002_t1"
    label = written(report, case)[1]
    middle = label[len(label) // 2]
    np.testing.assert_array_equal(middle == 4, sitk.GetArrayFromImage(source)[0] == UNKNOWN)
    assert {3, 4} <= set(np.unique(middle))


@pytest.mark.parametrize("number", [0, -1, 1, 25, 100, 101, 125, 201, 225, 70000])
def test_an_ignore_label_with_another_meaning_is_rejected(spider, tmp_path, number):
    with pytest.raises(UserError):
        run(spider, tmp_path, ignore_label=number)
    assert not (tmp_path / "raw").exists()
    with pytest.raises(ValueError, match="empty"):
        map_labels(np.full((3, 3), UNKNOWN), ignore_label=UNKNOWN)


def test_files_of_single_slices_are_cases_and_keep_their_number(tmp_path):
    for patient in range(1, 6):
        write_series(tmp_path / "a", f"{patient}_t1", seed=patient)
        write_slice(tmp_path / "b", f"{patient}_t2_s07", seed=10 + patient)
        write_slice(tmp_path / "b", f"{patient}_t2_s11", seed=20 + patient)
        write_series(tmp_path / "b", f"{patient}_t2_SPACE", seed=30 + patient)
    report = run([tmp_path / "a", tmp_path / "b"], tmp_path / "out", t2_source="both")
    of_one = [case.case for case in report.cases if case.patient == "1"]
    assert of_one == ["SPIDER_001_t1", "SPIDER_001_t2_s07", "SPIDER_001_t2_s11", "SPIDER_001_t2_SPACE"]
    assert {case.patient for case in report.cases} == set("12345")


@pytest.mark.parametrize(("name", "slices"), [("4_t1", "middle"), ("4_t1_s02", "each")])
def test_a_series_or_slice_in_two_folders_is_rejected(spider, tmp_path, name, slices):
    write_series(tmp_path / "other", name)
    with pytest.raises(UserError, match=name):
        run([spider, tmp_path / "other"], tmp_path / "out", slices=slices)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("slices", ["middle", "each", "all"])
def test_a_volume_that_is_named_like_a_slice_is_a_failure(spider, tmp_path, slices):
    write_series(spider, "6_t2_s05")
    report = run(spider, tmp_path, slices=slices)
    assert [failure.file for failure in report.failures] == ["6_t2_s05.mha"]


def test_folds_published_for_a_patient_take_all_of_its_slices(spider, tmp_path):
    patients = [f"SPIDER_{patient:03d}" for patient in range(1, 7)]
    folds = [{"train": patients[1:], "val": patients[:1]}, {"train": patients[:5], "val": patients[5:]}]
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    first, second = folds_of(run(spider, tmp_path, slices="each", splits=tmp_path / "folds.json"))
    assert [case[:13] for case in first["val"]] == ["SPIDER_001_t1"] * (SLICES - 1)
    assert [case[:13] for case in second["val"]] == ["SPIDER_006_t1"] * SLICES


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data is not there")
def test_real_volumes_single_slices_and_weak_labels_make_one_dataset(tmp_path):
    folders = [SHARED_DATA / name for name in ("spider_space", "spider_t2w", "spider_weak")]
    report = run(folders, tmp_path, t2_source="both", slices="each", ignore_label=UNKNOWN, num_processes=2)
    assert not report.failures
    assert len({case.patient for case in report.cases}) == 52
    kinds = [parse_series(case.source).slice_number is not None for case in report.cases]
    assert (len(kinds), sum(kinds)) == (279, 33)
    assert (written(report, "SPIDER_005_t1")[1] == 4).any()
