"""Series that cannot be converted, and disks that fill up: one line each, and the others are done."""

from __future__ import annotations

import errno
import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion import cases
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import writing
from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm

from ..full_disk import says_that_the_disk_is_full
from .converting import contents, expected_files, image_missing, rows, run, truncated
from .made_up import SLICES_LAST, rotation

# --- bad input ---


def _edit(path: Path, change) -> None:
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(change(image), str(path))


def _truncated_mask(spider: Path) -> tuple[str, str]:
    path = spider / "masks" / "3_t1.mha"
    path.write_bytes(path.read_bytes()[:-20])
    return "masks/3_t1.mha", "truncated"


def _flipped_bits(spider: Path) -> tuple[str, str]:
    path = spider / "images" / "3_t1.mha"
    data = bytearray(path.read_bytes())
    data[-200] ^= 0xFF
    path.write_bytes(data)
    return "images/3_t1.mha", "damaged"


def _no_image_at_all(spider: Path) -> tuple[str, str]:
    (spider / "images" / "3_t1.mha").write_text("<html>404</html>")
    return "images/3_t1.mha", "not a MetaImage file"


def _image_in_other_case(spider: Path) -> tuple[str, str]:
    path = spider / "images" / "3_t1.mha"
    path.rename(path.with_name("3_t1.MHA"))
    return "images/3_t1.mha", "no such file, though its mask is there"


def _mask_missing(spider: Path) -> tuple[str, str]:
    (spider / "masks" / "3_t1.mha").unlink()
    return "masks/3_t1.mha", "no such file"


def _nan(spider: Path) -> tuple[str, str]:
    def change(image: sitk.Image) -> sitk.Image:
        image = sitk.Cast(image, sitk.sitkFloat32)
        image[3, 4, 1] = float("nan")
        return image

    _edit(spider / "images" / "3_t1.mha", change)
    return "images/3_t1.mha", "1 voxels are NaN"


def _blank(spider: Path) -> tuple[str, str]:
    _edit(spider / "images" / "3_t1.mha", lambda image: image * 0)
    return "images/3_t1.mha", "all voxels are 0"


def _unknown_number(spider: Path) -> tuple[str, str]:
    def change(mask: sitk.Image) -> sitk.Image:
        # Far from the middle slice: the whole mask is checked.
        mask[0, 0, 0] = 99
        return mask

    _edit(spider / "masks" / "3_t1.mha", change)
    return "masks/3_t1.mha", "unknown label number 99"


def _empty_mask(spider: Path) -> tuple[str, str]:
    _edit(spider / "masks" / "3_t1.mha", lambda mask: mask * 0)
    return "masks/3_t1.mha", "mask is empty"


def _only_the_sides_labelled(spider: Path) -> tuple[str, str]:
    def change(mask: sitk.Image) -> sitk.Image:
        mask[:, :, 2] = 0
        return mask

    _edit(spider / "masks" / "3_t1.mha", change)
    return "masks/3_t1.mha", "middle slice (number 2 from the left) holds no labelled structure"


def _moved_mask(spider: Path) -> tuple[str, str]:
    def change(mask: sitk.Image) -> sitk.Image:
        mask.SetOrigin([value + 1 for value in mask.GetOrigin()])
        return mask

    _edit(spider / "masks" / "3_t1.mha", change)
    return "masks/3_t1.mha", "not on the grid of"


def _smaller_mask(spider: Path) -> tuple[str, str]:
    _edit(spider / "masks" / "3_t1.mha", lambda mask: mask[:-1])
    return "masks/3_t1.mha", "not on the grid of"


def _two_dimensional(spider: Path) -> tuple[str, str]:
    _edit(spider / "images" / "3_t1.mha", lambda image: image[:, :, 0])
    return "images/3_t1.mha", "scalar 3D"


def _colour(spider: Path) -> tuple[str, str]:
    _edit(spider / "images" / "3_t1.mha", lambda image: sitk.Compose(image, image, image))
    return "images/3_t1.mha", "scalar 3D"


BAD_SERIES = [
    truncated,
    _truncated_mask,
    _flipped_bits,
    _no_image_at_all,
    image_missing,
    _image_in_other_case,
    _mask_missing,
    _nan,
    _blank,
    _unknown_number,
    _empty_mask,
    _only_the_sides_labelled,
    _moved_mask,
    _smaller_mask,
    _two_dimensional,
    _colour,
]


@pytest.mark.parametrize("damage", BAD_SERIES)
@pytest.mark.parametrize("before", [False, True], ids=["fresh", "converted_before"])
def test_a_bad_series_is_one_line_and_the_others_are_converted(own_cohort, tmp_path, capfd, damage, before):
    if before:
        run(own_cohort, tmp_path, contrast="t1")
    file, reason = damage(own_cohort)
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
    listed: dict[str, int] = defaultdict(int)
    for fold in json.loads(report.splits_file.read_text()):
        for case in fold["train"] + fold["val"]:
            listed[case] += 1
    assert dict(listed) == {case: 5 for case in good}


def test_a_mask_whose_header_was_rounded_is_taken_to_lie_on_the_image(own_cohort, tmp_path):
    def change(mask: sitk.Image) -> sitk.Image:
        mask.SetOrigin([value + 0.05 for value in mask.GetOrigin()])
        return mask

    _edit(own_cohort / "masks" / "3_t1.mha", change)
    report = run(own_cohort, tmp_path, contrast="t1")
    assert report.failures == []
    image = sitk.ReadImage(str(report.dataset / "imagesTr" / "SPIDER_003_t1_0000.nii.gz"))
    label = sitk.ReadImage(str(report.dataset / "labelsTr" / "SPIDER_003_t1.nii.gz"))
    assert grids_differ_by_mm(Grid.of(image), Grid.of(label)) == 0


def _skew(path: Path, cosines: np.ndarray) -> None:
    def change(image: sitk.Image) -> sitk.Image:
        image.SetDirection(cosines.ravel().tolist())
        return image

    _edit(path, change)


def test_rounded_cosines_leave_the_slice_in_its_place(own_cohort, tmp_path, capfd):
    exact = rotation((3, 14, 20)) @ SLICES_LAST
    rounded = np.round(exact, 3)
    for folder in ("images", "masks"):
        _skew(own_cohort / folder / "3_t1.mha", rounded)
    report = run(own_cohort, tmp_path, contrast="t1")
    assert report.failures == []
    assert "coerced" not in capfd.readouterr().err
    left, _, right = np.linalg.svd(rounded)
    scan = sitk.ReadImage(str(own_cohort / "images" / "3_t1.mha"))
    scan.SetDirection((left @ right).ravel().tolist())
    expected = Grid.of(extract_slice(scan).image)
    for file in ("imagesTr/SPIDER_003_t1_0000.nii.gz", "labelsTr/SPIDER_003_t1.nii.gz"):
        written = Grid.of(sitk.ReadImage(str(report.dataset / file)))
        assert grids_differ_by_mm(written, expected) < 1e-3
    scan.SetDirection(exact.ravel().tolist())
    assert grids_differ_by_mm(written, Grid.of(extract_slice(scan).image)) < 0.5


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_skewed_volume_is_refused(own_cohort, tmp_path, folder):
    path = own_cohort / folder / "3_t1.mha"
    skewed = SLICES_LAST.copy()
    skewed[0, 0] = 0.03
    _skew(path, skewed)
    (failure,) = run(own_cohort, tmp_path, contrast="t1").failures
    assert str(failure).startswith(f"{path}: its axes are not at right angles, voxels would move by")


def test_bad_series_from_workers(own_cohort, tmp_path):
    truncated(own_cohort)
    report = run(own_cohort, tmp_path, contrast="t1", num_processes=2)
    assert [failure.file for failure in report.failures] == ["3_t1.mha"]
    assert len(report.cases) == 5


def test_where_nothing_can_be_used_nothing_is_left(own_cohort, tmp_path):
    for mask in (own_cohort / "masks").iterdir():
        mask.unlink()
    report = run(own_cohort, tmp_path, contrast="t2")
    assert len(report.failures) == 6
    assert report.cases == []
    assert not report.dataset.exists()
    assert not report.splits_file.exists()


GOOD_BUT_2 = [f"SPIDER_00{n}_t1" for n in (1, 3, 4, 5, 6)]


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr", "conversion"])
def test_a_full_disk_is_a_failure_of_the_case(cohort, tmp_path, monkeypatch, folder):
    def full(write):
        def write_until_full(content, path, *options):
            if "SPIDER_002_t1" in str(path) and folder in str(path):
                Path(path).write_bytes(b"half")
                raise error
            write(content, path, *options)

        return write_until_full

    error = OSError(errno.ENOSPC, "No space left on device")
    if folder == "conversion":
        monkeypatch.setattr(cases, "save_json", full(cases.save_json))
    else:
        monkeypatch.setattr(writing, "save_nifti", full(writing.save_nifti))
    failure = run(cohort, tmp_path, contrast="t1").failures[0]
    assert f"{folder}/SPIDER_002_t1" in str(failure)
    told = "is the disk full?" if folder != "conversion" else "No space left on device): check the disk"
    assert told in str(failure)
    assert set(contents(tmp_path / "raw" / "Dataset501_SPIDER")) == expected_files(GOOD_BUT_2)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "(MemoryError: MemoryError): run again with a smaller -np"),
        (RuntimeError("sitk::ERROR\nBad direction"), "(RuntimeError: Bad direction): check it and its mask"),
        (PermissionError(13, "Permission denied"), "(PermissionError: [Errno 13] Permission denied): check"),
    ],
)
def test_whatever_befalls_a_case_the_others_are_converted(cohort, tmp_path, monkeypatch, error, told):
    def read(source):
        if source.series.case == "SPIDER_002_t1":
            raise error
        return read_image_and_mask(source)

    read_image_and_mask = cases.read_image_and_mask
    monkeypatch.setattr(cases, "read_image_and_mask", read)
    report = run(cohort, tmp_path, contrast="t1")
    assert str(report.failures[0]).startswith(f"{cohort}/images/2_t1.mha: cannot be converted {told}")
    assert "\n" not in str(report.failures[0])
    assert [case.case for case in report.cases] == GOOD_BUT_2


@pytest.mark.parametrize("root", ["raw", "preprocessed"])
@pytest.mark.parametrize("where", ["{root}", "{root}/Dataset501_SPIDER"])
def test_a_folder_that_cannot_be_written_is_told_before_any_work(cohort, tmp_path, root, where):
    path = tmp_path / where.format(root=root)
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\)") as caught:
        run(cohort, tmp_path, contrast="t1")
    assert str(caught.value).startswith(f"{path}: ")
    assert contents(tmp_path) == before
    assert not (tmp_path / "raw" / "Dataset501_SPIDER").is_dir()


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write everywhere")
@pytest.mark.parametrize(
    "folder", ["raw", "raw/Dataset501_SPIDER/imagesTr", "preprocessed/Dataset501_SPIDER"]
)
def test_a_write_protected_folder_is_told_before_any_work(cohort, tmp_path, folder):
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
    """ITK itself says nothing then."""
    values = np.random.default_rng(0).random((1, 320, 320), np.float32)
    image = sitk.GetImageFromArray(values)
    cases._write(image, tmp_path / "roomy" / "a.nii.gz")
    size = (tmp_path / "roomy" / "a.nii.gz").stat().st_size
    (tmp_path / "full").mkdir()
    full = tmp_path / "full" / "a.nii.gz"
    assert says_that_the_disk_is_full(lambda: cases._write(image, full), size - 10)
    assert not list(full.parent.iterdir())
