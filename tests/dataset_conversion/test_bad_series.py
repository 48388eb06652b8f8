"""Series that cannot be converted, and disks that fill up: one line each, and the others are done."""

from __future__ import annotations

import errno
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion import cases
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice

from nnunetv2_spinesegdiff import records
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import writing
from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm

from ..full_disk import says_that_the_disk_is_full
from ..helpers.converting import contents, edit, expected_files, folds_of, rows, run, truncated
from ..helpers.spider_series import SLICES_LAST, rotation

IMAGE, MASK = "images/3_t1.mha", "masks/3_t1.mha"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip_bits(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-200] ^= 0xFF
    path.write_bytes(data)


def nan(image: sitk.Image) -> sitk.Image:
    image = sitk.Cast(image, sitk.sitkFloat32)
    image[3, 4, 1] = float("nan")
    return image


def unknown_number(mask: sitk.Image) -> None:
    # Far from the middle slice: the whole mask is checked.
    mask[0, 0, 0] = 99


def only_the_sides_labeled(mask: sitk.Image) -> None:
    mask[:, :, 2] = 0


def moved(mm: float) -> Callable[[sitk.Image], None]:
    return lambda mask: mask.SetOrigin([value + mm for value in mask.GetOrigin()])


def edited(change: Callable[[sitk.Image], sitk.Image | None]) -> Callable[[Path], None]:
    return lambda path: edit(path, change)


BAD_SERIES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "truncated image": (IMAGE, lambda p: p.write_bytes(p.read_bytes()[:-2000]), "truncated"),
    "truncated mask": (MASK, cut, "truncated"),
    "flipped bits": (IMAGE, flip_bits, "damaged"),
    "no image at all": (IMAGE, lambda p: p.write_text("<html>404</html>"), "not a MetaImage file"),
    "missing image": (IMAGE, Path.unlink, "no such file"),
    "image in other case": (IMAGE, lambda p: p.rename(p.with_name("3_t1.MHA")), "no such file"),
    "missing mask": (MASK, Path.unlink, "no such file"),
    "NaN": (IMAGE, edited(nan), "1 voxels are NaN"),
    "blank": (IMAGE, edited(lambda image: image * 0), "all voxels are 0"),
    "unknown number": (MASK, edited(unknown_number), "unknown label number 99"),
    "empty mask": (MASK, edited(lambda mask: mask * 0), "empty"),
    "only the sides labeled": (MASK, edited(only_the_sides_labeled), "middle slice (number 2"),
    "moved mask": (MASK, edited(moved(1)), "not on the grid of"),
    "smaller mask": (MASK, edited(lambda mask: mask[:-1]), "not on the grid of"),
    "two dimensions": (IMAGE, edited(lambda image: image[:, :, 0]), "2D picture"),
    "color": (IMAGE, edited(lambda image: sitk.Compose(image, image, image)), "3 values per voxel"),
}


@pytest.mark.parametrize(
    ("name", "before"),
    [*((name, False) for name in BAD_SERIES), ("truncated image", True), ("missing mask", True)],
)
def test_a_bad_series_is_one_line_and_the_others_are_converted(own_cohort, tmp_path, capfd, name, before):
    if before:
        run(own_cohort, tmp_path, contrast="t1")
    file, damage, reason = BAD_SERIES[name]
    damage(own_cohort / file)
    capfd.readouterr()
    report = run(own_cohort, tmp_path, contrast="t1")
    (failure,) = report.failures
    assert str(failure).startswith(f"{own_cohort / file}: ")
    assert reason in str(failure)
    assert "\n" not in str(failure)
    assert "Meta" not in capfd.readouterr().err
    good = [f"SPIDER_00{patient}_t1" for patient in (1, 2, 4, 5, 6)]
    assert set(contents(report.dataset)) == expected_files(good)
    assert [row["case"] for row in rows(report)] == good
    assert json.loads((report.dataset / "dataset.json").read_text())["numTraining"] == 5
    listed = Counter(case for fold in folds_of(report) for case in fold["train"] + fold["val"])
    assert listed == {case: 5 for case in good}


def test_rounded_headers_leave_the_slice_in_its_place(own_cohort, tmp_path, capfd):
    exact = rotation((3, 14, 20)) @ SLICES_LAST
    rounded = np.round(exact, 3)
    for file in (IMAGE, MASK):
        edit(own_cohort / file, lambda image: image.SetDirection(rounded.ravel().tolist()))
    edit(own_cohort / MASK, moved(0.05))
    report = run(own_cohort, tmp_path, contrast="t1")
    assert report.failures == []
    assert "coerced" not in capfd.readouterr().err
    left, _, right = np.linalg.svd(rounded)
    scan = sitk.ReadImage(str(own_cohort / IMAGE))
    scan.SetDirection((left @ right).ravel().tolist())
    expected = Grid.of(extract_slice(scan).image)
    for file in ("imagesTr/SPIDER_003_t1_0000.nii.gz", "labelsTr/SPIDER_003_t1.nii.gz"):
        written = Grid.of(sitk.ReadImage(str(report.dataset / file)))
        assert grids_differ_by_mm(written, expected) < 1e-3
    scan.SetDirection(exact.ravel().tolist())
    assert grids_differ_by_mm(written, Grid.of(extract_slice(scan).image)) < 0.5


@pytest.mark.parametrize("file", [IMAGE, MASK])
def test_a_skewed_volume_is_rejected(own_cohort, tmp_path, file):
    skewed = SLICES_LAST.copy()
    skewed[0, 0] = 0.03
    edit(own_cohort / file, lambda image: image.SetDirection(skewed.ravel().tolist()))
    (failure,) = run(own_cohort, tmp_path, contrast="t1").failures
    assert str(failure).startswith(f"{own_cohort / file}: its axes are not at right angles")


def test_bad_series_from_workers(own_cohort, tmp_path, forked_workers):
    truncated(own_cohort)
    report = run(own_cohort, tmp_path, contrast="t1", num_processes=2)
    assert [failure.file for failure in report.failures] == ["3_t1.mha"]
    assert len(report.cases) == 5


GOOD_BUT_2 = [f"SPIDER_00{n}_t1" for n in (1, 3, 4, 5, 6)]


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr", "conversion"])
def test_a_full_disk_is_a_failure_of_the_case(cohort, tmp_path, monkeypatch, folder):
    module, name = (records, "save_json") if folder == "conversion" else (writing, "save_nifti")
    write = getattr(module, name)

    def write_until_full(content, path, *options):
        if "SPIDER_002_t1" in str(path) and folder in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(content, path, *options)

    monkeypatch.setattr(module, name, write_until_full)
    failure = run(cohort, tmp_path, contrast="t1").failures[0]
    assert f"{folder}/SPIDER_002_t1" in str(failure)
    assert "disk" in str(failure)
    assert set(contents(tmp_path / "raw" / "Dataset501_SPIDER")) == expected_files(GOOD_BUT_2)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "MemoryError.*-np"),
        (RuntimeError("sitk::ERROR\nBad direction"), "RuntimeError: Bad direction"),
        (PermissionError(13, "Permission denied"), "PermissionError.*Permission denied"),
    ],
)
def test_any_error_of_a_case_leaves_the_others_converted(cohort, tmp_path, monkeypatch, error, words):
    def read(source):
        if source.series.case == "SPIDER_002_t1":
            raise error
        return read_image_and_mask(source)

    read_image_and_mask = cases.read_image_and_mask
    monkeypatch.setattr(cases, "read_image_and_mask", read)
    report = run(cohort, tmp_path, contrast="t1")
    assert re.fullmatch(rf"{cohort}/images/2_t1\.mha: .*{words}.*", str(report.failures[0]))
    assert [case.case for case in report.cases] == GOOD_BUT_2


@pytest.mark.parametrize("root", ["raw", "preprocessed"])
@pytest.mark.parametrize("where", ["{root}", "{root}/Dataset501_SPIDER"])
def test_an_unwritable_folder_is_named_before_any_work(cohort, tmp_path, root, where):
    path = tmp_path / where.format(root=root)
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"^{path}: cannot be written"):
        run(cohort, tmp_path, contrast="t1")
    assert contents(tmp_path) == before
    assert not (tmp_path / "raw" / "Dataset501_SPIDER").is_dir()


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write everywhere")
@pytest.mark.parametrize(
    "folder", ["raw", "raw/Dataset501_SPIDER/imagesTr", "preprocessed/Dataset501_SPIDER"]
)
def test_a_write_protected_folder_is_named_before_any_work(cohort, tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder).chmod(0o555)
    with pytest.raises(UserError, match=f"{folder}: cannot be written"):
        run(cohort, tmp_path, contrast="t1")


def test_a_disk_that_is_full_at_the_end_is_one_line(cohort, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nnunetv2_spinesegdiff.dataset_conversion.dataset_folder.save_json", full)
    with pytest.raises(UserError, match="Dataset501_SPIDER: cannot be finished"):
        run(cohort, tmp_path, contrast="t1")
    monkeypatch.undo()
    assert run(cohort, tmp_path, contrast="t1").counts["kept"] == 6


def test_a_disk_that_fills_up_under_a_case_leaves_no_part_of_it(tmp_path):
    """ITK itself reports nothing then."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((1, 320, 320), np.float32))
    cases._write(image, tmp_path / "roomy" / "a.nii.gz")
    size = (tmp_path / "roomy" / "a.nii.gz").stat().st_size
    full = tmp_path / "full" / "a.nii.gz"
    full.parent.mkdir()
    assert says_that_the_disk_is_full(lambda: cases._write(image, full), size - 10)
    assert not list(full.parent.iterdir())
