from __future__ import annotations

import csv
import errno
import hashlib
import json
import multiprocessing.dummy
import os
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor as extractor
from nnunetv2_spinesegdiff.dataset_conversion import cases
from nnunetv2_spinesegdiff.dataset_conversion.convert import ConversionReport, convert
from nnunetv2_spinesegdiff.dataset_conversion.geometry import Grid, extract_slice, grids_differ_by_mm

from nnunetv2_spinesegdiff.errors import UserError

from ..full_disk import says_that_the_disk_is_full
from .made_up import SHARED_DATA, SLICES_LAST, rotation, write_cohort, write_series

SPIDER_LIKE = SHARED_DATA / "spider_like"


def run(spider: Path, out: Path, **options) -> ConversionReport:
    options = {"num_processes": 1, **options}
    return convert(spider, 501, nnunet_raw=out / "raw", nnunet_preprocessed=out / "preprocessed", **options)


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file below a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(report: ConversionReport) -> list[dict[str, str]]:
    with (report.dataset / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def expected_files(cases: list[str]) -> set[str]:
    names = {"dataset.json", "cases.csv", "splits_final.json"}
    for case in cases:
        names |= {f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz", f"conversion/{case}.json"}
    return names


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """6 patients with t1 and t2 each; to be read only."""
    root = tmp_path_factory.mktemp("cohort")
    write_cohort(root)
    return root


@pytest.fixture
def own_cohort(tmp_path) -> Path:
    """The same, to be damaged by the test."""
    write_cohort(tmp_path / "spider")
    return tmp_path / "spider"


def test_a_dataset_for_nnunet(cohort, tmp_path):
    report = run(cohort, tmp_path)
    cases = [f"SPIDER_{patient:03d}_{contrast}" for patient in range(1, 7) for contrast in ("t1", "t2")]
    assert report.failures == []
    assert [case.case for case in report.cases] == cases
    assert set(contents(report.dataset)) == expected_files(cases)
    dataset = json.loads((report.dataset / "dataset.json").read_text())
    assert dataset["numTraining"] == 12
    assert dataset["channel_names"] == {"0": "MRI"}
    assert dataset["labels"] == {"background": 0, "spinal_canal": 1, "vertebrae": 2, "ivd": 3}
    splits = json.loads(report.splits_file.read_text())
    assert json.loads((report.dataset / "splits_final.json").read_text()) == splits
    assert sorted(case for fold in splits for case in fold["val"]) == cases
    for fold in splits:
        assert not {case[:10] for case in fold["val"]} & {case[:10] for case in fold["train"]}


def test_cases_csv(cohort, tmp_path):
    report = run(cohort, tmp_path, contrast="t1")
    assert (report.dataset / "cases.csv").read_text().splitlines()[:2] == [
        "case,patient,contrast,source,slice_index,obliquity_deg,spacing_mm,size",
        "SPIDER_001_t1,1,t1,1_t1.mha,2,0.0,4x1.5x1.2,5x48x40",
    ]
    assert [row["source"] for row in rows(report)] == [f"{patient}_t1.mha" for patient in range(1, 7)]


@pytest.mark.parametrize("name", ["1_t1", "1_t2"])  # one in either axis order
def test_written_slices_lie_where_the_scan_has_them(cohort, tmp_path, name):
    report = run(cohort, tmp_path)
    for folder, ending, source in (("imagesTr", "_0000", "images"), ("labelsTr", "", "masks")):
        written = sitk.ReadImage(str(report.dataset / folder / f"SPIDER_00{name}{ending}.nii.gz"))
        view = extract_slice(sitk.ReadImage(str(cohort / source / f"{name}.mha")), is_label=True)
        assert sitk.GetArrayFromImage(written).shape == (1, 320, 320)
        assert grids_differ_by_mm(Grid.of(written), Grid.of(view.image)) < 1e-3
        if source == "masks":
            classes = {1: 2, 100: 1, 201: 3}
            numbers = sitk.GetArrayFromImage(view.image)
            labels = sitk.GetArrayFromImage(written)
            for number, expected in classes.items():
                assert set(labels[numbers == number]) == {expected}
            assert not labels[numbers == 0].any()
        else:
            values = sitk.GetArrayFromImage(written)
            assert 0 <= values.min() < values.max() <= 255


def test_an_oblique_slice_keeps_its_cosines_and_leaves_validation(own_cohort, tmp_path):
    cosines = rotation((3, 14, 20)) @ SLICES_LAST
    write_series(own_cohort, "2_t1", cosines=cosines)
    report = run(own_cohort, tmp_path, max_oblique_deg=20)
    assert report.counts["oblique"] == 1
    assert any("SPIDER_002_t1" in note for note in report.notes)
    splits = json.loads(report.splits_file.read_text())
    row = next(row for row in rows(report) if row["case"] == "SPIDER_002_t1")
    assert float(row["obliquity_deg"]) == pytest.approx(
        np.degrees(np.arccos(np.cos(np.radians(14)) * np.cos(np.radians(20)))), abs=0.01
    )
    written = sitk.ReadImage(str(report.dataset / "imagesTr" / "SPIDER_002_t1_0000.nii.gz"))
    view = extract_slice(sitk.ReadImage(str(own_cohort / "images" / "2_t1.mha")))
    assert grids_differ_by_mm(Grid.of(written), Grid.of(view.image)) < 1e-3

    straight = json.loads(run(own_cohort, tmp_path, max_oblique_deg=30).splits_file.read_text())
    for fold in straight:
        fold["val"] = [case for case in fold["val"] if case != "SPIDER_002_t1"]
    assert splits == straight
    assert sum("SPIDER_002_t1" in fold["train"] for fold in splits) == 4


@pytest.mark.parametrize(
    ("option", "shape", "spacing"),
    [({"slices": "all"}, (5, 320, 320), (1, 1, 4)), ({"dim": "3d"}, (64, 320, 320), (1, 1, 1))],
)
def test_whole_volumes(cohort, tmp_path, option, shape, spacing):
    report = run(cohort, tmp_path, contrast="t1", **option)
    for path in ("imagesTr/SPIDER_001_t1_0000.nii.gz", "labelsTr/SPIDER_001_t1.nii.gz"):
        image = sitk.ReadImage(str(report.dataset / path))
        assert sitk.GetArrayViewFromImage(image).shape == shape
        assert image.GetSpacing() == pytest.approx(spacing)
    assert {row["slice_index"] for row in rows(report)} == {""}


@pytest.mark.parametrize(("option", "partial"), [("vertebra", 2), ("background", 0), ("ignore", 4)])
def test_partial_vertebrae(tmp_path, option, partial):
    for patient in range(1, 6):
        write_series(tmp_path / "spider", f"{patient}_t1", numbers=(9, 109))
    report = run(tmp_path / "spider", tmp_path, contrast="t1", partial_vertebrae=option)
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(report.dataset / "labelsTr" / "SPIDER_001_t1.nii.gz")))
    mask = sitk.ReadImage(str(tmp_path / "spider" / "masks" / "1_t1.mha"))
    numbers = sitk.GetArrayFromImage(extract_slice(mask, is_label=True).image)
    assert set(label[numbers == 9]) == {2}
    assert set(label[numbers == 109]) == {partial}
    dataset = json.loads((report.dataset / "dataset.json").read_text())
    assert dataset["labels"].get("ignore") == (4 if option == "ignore" else None)


# --- running again ---


def test_workers_make_the_same_files(cohort, tmp_path):
    alone = run(cohort, tmp_path / "a", contrast="t1")
    together = run(cohort, tmp_path / "b", contrast="t1", num_processes=2)
    assert contents(alone.dataset) == contents(together.dataset)
    assert alone.cases == together.cases


def test_what_is_whole_is_kept(cohort, tmp_path):
    first = run(cohort, tmp_path, contrast="t1")
    before = contents(first.dataset)
    times = {path: path.stat().st_mtime_ns for path in first.dataset.glob("*Tr/*")}
    again = run(cohort, tmp_path, contrast="t1")
    assert (again.counts["kept"], again.counts["converted"]) == (6, 0)
    assert again.cases == first.cases
    assert {path: path.stat().st_mtime_ns for path in first.dataset.glob("*Tr/*")} == times
    assert contents(first.dataset) == before


def _truncate(dataset: Path) -> None:
    path = dataset / "imagesTr" / "SPIDER_003_t1_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])


def _remove_label(dataset: Path) -> None:
    (dataset / "labelsTr" / "SPIDER_003_t1.nii.gz").unlink()


def _unfinish(dataset: Path) -> None:
    (dataset / "conversion" / "SPIDER_003_t1.json").write_text(json.dumps({"finished": False}))


@pytest.mark.parametrize("damage", [_truncate, _remove_label, _unfinish])
def test_what_is_not_whole_is_made_again(cohort, tmp_path, damage):
    before = contents(run(cohort, tmp_path, contrast="t1").dataset)
    damage(tmp_path / "raw" / "Dataset501_SPIDER")
    again = run(cohort, tmp_path, contrast="t1")
    assert (again.counts["kept"], again.counts["converted"]) == (5, 1)
    assert contents(again.dataset) == before


def test_a_changed_scan_is_converted_again(own_cohort, tmp_path):
    run(own_cohort, tmp_path, contrast="t1")
    write_series(own_cohort, "3_t1", seed=99)
    again = run(own_cohort, tmp_path, contrast="t1")
    assert (again.counts["kept"], again.counts["converted"]) == (5, 1)


@pytest.mark.parametrize("option", [{"slices": "all"}, {"dim": "3d"}, {"partial_vertebrae": "background"}])
def test_other_settings_make_every_case_again(cohort, tmp_path, option):
    run(cohort, tmp_path, contrast="t1")
    again = run(cohort, tmp_path, contrast="t1", **option)
    assert (again.counts["kept"], again.counts["converted"]) == (0, 6)
    fresh = run(cohort, tmp_path / "fresh", contrast="t1", **option)
    assert contents(again.dataset) == contents(fresh.dataset)


def test_slices_say_nothing_about_volumes(cohort, tmp_path):
    before = contents(run(cohort, tmp_path, contrast="t1", dim="3d").dataset)
    again = run(cohort, tmp_path, contrast="t1", dim="3d", slices="all")
    assert again.counts["kept"] == 6
    assert contents(again.dataset) == before


@pytest.mark.parametrize("partial", ["background", "ignore"])
def test_a_slice_of_which_nothing_is_learnt_is_a_failure(tmp_path, partial):
    for patient in range(1, 7):
        write_series(tmp_path / "spider", f"{patient}_t1", numbers=(109,) if patient == 2 else (9, 109))
    options = {"contrast": "t1", "slices": "all"}
    failure = run(tmp_path / "spider", tmp_path, partial_vertebrae=partial, **options).failures[0]
    assert "masks/2_t1.mha: the volume holds no labelled structure" in str(failure)
    assert run(tmp_path / "spider", tmp_path, **options).failures == []


def test_cases_of_an_earlier_choice_do_not_stay(cohort, tmp_path):
    images = run(cohort, tmp_path, contrast="t1t2").dataset / "imagesTr"
    (images / ".SPIDER_001_t1_0000.abc.part.nii.gz").write_bytes(b"killed")
    report = run(cohort, tmp_path, contrast="t2")
    assert (report.counts["kept"], report.counts["removed"]) == (6, 6)
    assert contents(report.dataset) == contents(run(cohort, tmp_path / "fresh", contrast="t2").dataset)


def test_an_interrupted_run_leaves_no_dataset_and_goes_on(cohort, tmp_path, monkeypatch):
    run(cohort, tmp_path, contrast="t1", partial_vertebrae="background")
    written = []

    def interrupted(image, path):
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        write(image, path)

    write = cases._write
    monkeypatch.setattr(cases, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(cohort, tmp_path, contrast="t1")
    dataset = tmp_path / "raw" / "Dataset501_SPIDER"
    assert not (dataset / "dataset.json").exists()
    assert not list(dataset.rglob("SPIDER_002_t1*"))
    monkeypatch.undo()
    again = run(cohort, tmp_path, contrast="t1")
    assert again.counts["kept"] == 1
    assert contents(dataset) == contents(run(cohort, tmp_path / "fresh", contrast="t1").dataset)


# --- folds from elsewhere ---


def test_published_folds(cohort, tmp_path):
    file = tmp_path / "splits.json"
    file.write_text(
        json.dumps(
            [
                {
                    "train": ["SPIDER_001", "SPIDER_002_t1_004", "SPIDER_099"],
                    "test": ["SPIDER_003", "SPIDER_003"],
                },
                {"train": ["SPIDER_003"], "test": ["SPIDER_001"]},
            ]
        )
    )
    report = run(cohort, tmp_path, splits=file)
    assert json.loads(report.splits_file.read_text()) == [
        {
            "train": ["SPIDER_001_t1", "SPIDER_001_t2", "SPIDER_002_t1"],
            "val": ["SPIDER_003_t1", "SPIDER_003_t2"],
        },
        {"train": ["SPIDER_003_t1", "SPIDER_003_t2"], "val": ["SPIDER_001_t1", "SPIDER_001_t2"]},
    ]
    assert report.failures == []
    assert len(report.cases) == 12
    assert (report.counts["not_in_splits"], report.counts["only_in_splits"]) == (7, 1)
    assert any("SPIDER_002_t2, SPIDER_004_t1" in note for note in report.notes)


def test_folds_of_another_cohort_are_refused(cohort, tmp_path):
    file = tmp_path / "splits.json"
    file.write_text(json.dumps([{"train": ["SPIDER_098"], "val": ["SPIDER_099"]}]))
    with pytest.raises(UserError, match="none of the patients at hand"):
        run(cohort, tmp_path, splits=file)
    assert not (tmp_path / "raw").exists()


def test_folds_stay_when_a_broken_series_is_repaired(own_cohort, tmp_path):
    whole = json.loads(run(own_cohort, tmp_path).splits_file.read_text())
    mask = (own_cohort / "masks" / "4_t1.mha").rename(tmp_path / "kept.mha")
    broken = json.loads(run(own_cohort, tmp_path).splits_file.read_text())
    without = [{side: [c for c in fold[side] if c != "SPIDER_004_t1"] for side in fold} for fold in whole]
    assert broken == without != whole
    mask.rename(own_cohort / "masks" / "4_t1.mha")
    assert json.loads(run(own_cohort, tmp_path).splits_file.read_text()) == whole


def test_folds_do_not_depend_on_the_contrast(own_cohort, tmp_path):
    for path in (*own_cohort.glob("*/3_t1.mha"), *own_cohort.glob("*/4_t2.mha")):
        path.unlink()
    for patient in range(7, 13):
        write_series(own_cohort, f"{patient}_t1")
        write_series(own_cohort, f"{patient}_t2")
    both = json.loads(run(own_cohort, tmp_path).splits_file.read_text())
    for contrast in ("t1", "t2"):
        alone = json.loads(run(own_cohort, tmp_path, contrast=contrast).splits_file.read_text())
        assert alone == [
            {side: [c for c in fold[side] if c.endswith(contrast)] for side in fold} for fold in both
        ]


def test_a_fold_without_a_patient_of_the_contrast_is_one_line(own_cohort, tmp_path):
    for patient in ("5", "6"):
        for path in own_cohort.glob(f"*/{patient}_t1.mha"):
            path.unlink()
    with pytest.raises(UserError, match=r"fold 4 holds no patient with a series of contrast t1"):
        run(own_cohort, tmp_path, contrast="t1")
    assert not (tmp_path / "raw").exists()


def test_a_fold_that_cannot_be_validated_is_a_failure(own_cohort, tmp_path):
    for path in [*own_cohort.glob("*/*_t2.mha"), *own_cohort.glob("*/6_t1.mha")]:
        path.unlink()
    write_series(own_cohort, "1_t1", cosines=rotation((0, 0, 25)) @ SLICES_LAST)
    report = run(own_cohort, tmp_path)
    fold = next(i for i, f in enumerate(json.loads(report.splits_file.read_text())) if not f["val"])
    assert [str(f) for f in report.failures] == [
        f"{report.splits_file}: fold {fold} has no val case left and cannot be trained: "
        "repair the series that failed, raise --max_oblique_deg or choose other folds"
    ]


# --- bad input ---


def _edit(path: Path, change) -> None:
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(change(image), str(path))


def _truncated(spider: Path) -> tuple[str, str]:
    path = spider / "images" / "3_t1.mha"
    path.write_bytes(path.read_bytes()[:-2000])
    return "images/3_t1.mha", "truncated"


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
    return "images/3_t1.mha", "cannot be read"


def _image_missing(spider: Path) -> tuple[str, str]:
    (spider / "images" / "3_t1.mha").unlink()
    return "images/3_t1.mha", "no such file, though its mask is there"


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
    return "masks/3_t1.mha", "geometry differs"


def _smaller_mask(spider: Path) -> tuple[str, str]:
    _edit(spider / "masks" / "3_t1.mha", lambda mask: mask[:-1])
    return "masks/3_t1.mha", "geometry differs"


def _two_dimensional(spider: Path) -> tuple[str, str]:
    _edit(spider / "images" / "3_t1.mha", lambda image: image[:, :, 0])
    return "images/3_t1.mha", "scalar 3D"


def _colour(spider: Path) -> tuple[str, str]:
    _edit(spider / "images" / "3_t1.mha", lambda image: sitk.Compose(image, image, image))
    return "images/3_t1.mha", "scalar 3D"


BAD_SERIES = [
    _truncated,
    _truncated_mask,
    _flipped_bits,
    _no_image_at_all,
    _image_missing,
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
    _truncated(own_cohort)
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
        def write_until_full(content, path, **options):
            if "SPIDER_002_t1" in str(path) and folder in str(path):
                Path(path).write_bytes(b"half")
                raise error
            write(content, path, **options)

        return write_until_full

    error: Exception = RuntimeError("sitk::ERROR\nNo space left on device")
    if folder == "conversion":
        error = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(cases, "save_json", full(cases.save_json))
    else:
        monkeypatch.setattr(cases.sitk, "WriteImage", full(sitk.WriteImage))
    failure = run(cohort, tmp_path, contrast="t1").failures[0]
    assert f"{folder}/SPIDER_002_t1" in str(failure)
    # Of an image ITK's own words say no more than that.
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
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
    return "none of its 12 .mha files is a series"


def _only_t2(spider: Path) -> str:
    for path in spider.glob("*/*_t1.mha"):
        path.unlink()
    return "none of its 6 .mha files is a series for contrast t1"


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
    _image_missing(own_cohort)
    report = run(own_cohort, tmp_path, contrast="t2")
    assert report.failures == []
    assert len(report.cases) == 6


# --- old preprocessing ---


def _fingerprint_stays(spider: Path, out: Path, **options) -> bool:
    """Whether a fingerprint that nnU-Net took before outlives a conversion, and that the notes say so."""
    path = out / "preprocessed" / "Dataset501_SPIDER" / "dataset_fingerprint.json"
    path.write_text("{}")
    report = run(spider, out, contrast="t1", **options)
    assert any(f"{path}: was out of date" in note for note in report.notes) != path.exists()
    return path.exists()


@pytest.mark.parametrize("option", [{"partial_vertebrae": "background"}, {"dim": "3d"}, {"contrast": "t2"}])
def test_other_options_make_nnunet_take_a_new_fingerprint(cohort, tmp_path, option):
    run(cohort, tmp_path, **{"contrast": "t1", **option})
    assert not _fingerprint_stays(cohort, tmp_path)
    assert _fingerprint_stays(cohort, tmp_path)


def test_other_folds_leave_the_fingerprint(cohort, tmp_path):
    run(cohort, tmp_path, contrast="t1")
    assert _fingerprint_stays(cohort, tmp_path, seed=3, max_oblique_deg=0)


def test_a_case_that_can_no_longer_be_converted_makes_the_fingerprint_old(own_cohort, tmp_path):
    run(own_cohort, tmp_path, contrast="t1")
    _truncated(own_cohort)
    assert not _fingerprint_stays(own_cohort, tmp_path)
    assert _fingerprint_stays(own_cohort, tmp_path)


def test_after_an_interrupted_run_the_fingerprint_is_old(cohort, tmp_path):
    dataset = run(cohort, tmp_path, contrast="t1").dataset
    (dataset / "dataset.json").unlink()
    assert not _fingerprint_stays(cohort, tmp_path)


def test_nnunet_measures_again_what_was_converted_again(cohort, tmp_path, monkeypatch):
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{variable}", str(tmp_path / variable))
    # Threads for its processes: these would import torch first.
    threads = SimpleNamespace(get_context=lambda method: multiprocessing.dummy)
    monkeypatch.setattr(extractor, "multiprocessing", threads)
    shapes = []
    for option in ({"dim": "2d"}, {"dim": "3d"}):
        run(cohort, tmp_path, contrast="t1", **option)
        measuring = extractor.DatasetFingerprintExtractor("Dataset501_SPIDER", 1)
        measuring.num_foreground_voxels_for_intensitystats = 1000
        shapes.append({shape[0] for shape in measuring.run()["shapes_after_crop"]})
    assert shapes[0] == {1}
    assert min(shapes[1]) > 1


def test_folds_edited_by_hand_are_not_lost(cohort, tmp_path):
    report = run(cohort, tmp_path, contrast="t1")
    assert not any("--splits" in note for note in run(cohort, tmp_path, contrast="t1").notes)
    edited = json.loads(report.splits_file.read_text())[::-1]
    report.splits_file.write_text(json.dumps(edited))
    again = run(cohort, tmp_path, contrast="t1")
    (note,) = [note for note in again.notes if "--splits" in note]
    assert note.startswith(f"{report.splits_file}: ")
    kept = report.splits_file.with_name("splits_final.previous.json")
    assert kept.name in note
    assert json.loads(kept.read_text()) == edited
    assert json.loads(report.splits_file.read_text()) == edited[::-1]
    # The file may be given back as it is.
    assert json.loads(run(cohort, tmp_path, contrast="t1", splits=kept).splits_file.read_text()) == edited


# --- real scans ---


@pytest.mark.skipif(not SPIDER_LIKE.is_dir(), reason=f"the real scans are not at {SPIDER_LIKE}")
def test_real_scans(tmp_path):
    report = run(SPIDER_LIKE, tmp_path, num_processes=2)
    assert report.failures == []
    assert len(report.cases) == 20
    assert len({case.patient for case in report.cases}) == 20
    for case in report.cases:
        image = sitk.ReadImage(str(report.dataset / "imagesTr" / f"{case.case}_0000.nii.gz"))
        label = sitk.ReadImage(str(report.dataset / "labelsTr" / f"{case.case}.nii.gz"))
        assert grids_differ_by_mm(Grid.of(image), Grid.of(label)) == 0
        labels = sitk.GetArrayFromImage(label)
        assert labels.shape == (1, 320, 320)
        assert set(np.unique(labels)) == {0, 2}
        # Lumbar bodies lie one above the other.
        _, row, column = np.nonzero(labels)
        assert np.ptp(row) > 1.5 * np.ptp(column)
        # The canal, bright in these scans, is behind them, on the right.
        picture = sitk.GetArrayFromImage(image)[0]
        behind, before = [], []
        for line in np.unique(row):
            bodies = column[row == line]
            behind.append(picture[line, bodies.max() + 3 : bodies.max() + 25].max())
            before.append(picture[line, bodies.min() - 25 : bodies.min() - 3].max())
        assert np.mean(behind) > 1.2 * np.mean(before)


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
