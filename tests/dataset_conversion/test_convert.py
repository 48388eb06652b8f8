"""A synthetic cohort as a dataset of nnU-Net, converted once and again."""

from __future__ import annotations

import json
import multiprocessing.dummy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor as extractor
from nnunetv2_spinesegdiff.dataset_conversion import cases
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm

from ..helpers.converting import contents, expected_files, folds_of, rows, run, truncated, validated
from ..helpers.spider_series import SHARED_DATA, SLICES_LAST, rotation, write_series

SPIDER_LIKE = SHARED_DATA / "spider_like"


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
    assert json.loads((report.dataset / "splits_final.json").read_text()) == folds_of(report)
    assert validated(report) == cases
    assert (report.dataset / "cases.csv").read_text().splitlines()[:2] == [
        "case,patient,contrast,source,slice_index,obliquity_deg,spacing_mm,size",
        "SPIDER_001_t1,1,t1,1_t1.mha,2,0.0,4x1.5x1.2,5x48x40",
    ]
    for name in ("1_t1", "1_t2"):  # one in either axis order
        for folder, ending, source in (("imagesTr", "_0000", "images"), ("labelsTr", "", "masks")):
            written = sitk.ReadImage(str(report.dataset / folder / f"SPIDER_00{name}{ending}.nii.gz"))
            view = extract_slice(sitk.ReadImage(str(cohort / source / f"{name}.mha")), is_label=True)
            assert grids_differ_by_mm(Grid.of(written), Grid.of(view.image)) < 1e-3
            values, numbers = map(sitk.GetArrayFromImage, (written, view.image))
            assert values.shape == (1, 320, 320)
            if source == "images":
                assert 0 <= values.min() < values.max() <= 255
            else:
                for number, expected in {0: 0, 1: 2, 100: 1, 201: 3}.items():
                    assert set(values[numbers == number]) == {expected}


def test_an_oblique_slice_keeps_its_cosines_and_leaves_validation(own_cohort, tmp_path):
    write_series(own_cohort, "2_t1", cosines=rotation((3, 14, 20)) @ SLICES_LAST)
    report = run(own_cohort, tmp_path, max_oblique_deg=20)
    assert report.counts["oblique"] == 1
    assert any("SPIDER_002_t1" in note for note in report.notes)
    splits = folds_of(report)
    row = next(row for row in rows(report) if row["case"] == "SPIDER_002_t1")
    angle = np.degrees(np.arccos(np.cos(np.radians(14)) * np.cos(np.radians(20))))
    assert float(row["obliquity_deg"]) == pytest.approx(angle, abs=0.01)
    written = sitk.ReadImage(str(report.dataset / "imagesTr" / "SPIDER_002_t1_0000.nii.gz"))
    view = extract_slice(sitk.ReadImage(str(own_cohort / "images" / "2_t1.mha")))
    assert grids_differ_by_mm(Grid.of(written), Grid.of(view.image)) < 1e-3
    straight = folds_of(run(own_cohort, tmp_path, max_oblique_deg=30))
    for fold in straight:
        fold["val"] = [case for case in fold["val"] if case != "SPIDER_002_t1"]
    assert splits == straight
    assert sum("SPIDER_002_t1" in fold["train"] for fold in splits) == 4


@pytest.mark.parametrize(
    ("option", "shape", "spacing"),
    [
        ({"slices": "all"}, (5, 320, 320), (1, 1, 4)),
        ({"dim": "3d"}, (64, 320, 320), (1, 1, 1)),
        ({"partial_vertebrae": "background"}, (1, 320, 320), (1, 1, 4)),
    ],
)
def test_other_settings_make_every_case_again(cohort, tmp_path, forked_workers, option, shape, spacing):
    run(cohort, tmp_path, contrast="t1")
    report = run(cohort, tmp_path, contrast="t1", **option)
    assert (report.counts["kept"], report.counts["converted"]) == (0, 6)
    for path in ("imagesTr/SPIDER_001_t1_0000.nii.gz", "labelsTr/SPIDER_001_t1.nii.gz"):
        image = sitk.ReadImage(str(report.dataset / path))
        assert sitk.GetArrayViewFromImage(image).shape == shape
        assert image.GetSpacing() == pytest.approx(spacing)
    assert {row["slice_index"] for row in rows(report)} == {"2" if shape[0] == 1 else ""}
    fresh = run(cohort, tmp_path / "fresh", contrast="t1", num_processes=2, **option)
    assert contents(report.dataset) == contents(fresh.dataset)
    assert report.cases == fresh.cases
    if "dim" in option:
        again = run(cohort, tmp_path, contrast="t1", dim="3d", slices="all")
        assert again.counts["kept"] == 6, "slices mean nothing for volumes"


@pytest.mark.parametrize(("option", "partial"), [("vertebra", 2), ("background", 0), ("ignore", 4)])
def test_partial_vertebrae(tmp_path, option, partial):
    for patient in range(1, 7):
        write_series(tmp_path / "spider", f"{patient}_t1", numbers=(109,) if patient == 2 else (9, 109))
    report = run(tmp_path / "spider", tmp_path, contrast="t1", partial_vertebrae=option)
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(report.dataset / "labelsTr" / "SPIDER_001_t1.nii.gz")))
    mask = sitk.ReadImage(str(tmp_path / "spider" / "masks" / "1_t1.mha"))
    numbers = sitk.GetArrayFromImage(extract_slice(mask, is_label=True).image)
    assert set(label[numbers == 9]) == {2}
    assert set(label[numbers == 109]) == {partial}
    dataset = json.loads((report.dataset / "dataset.json").read_text())
    assert dataset["labels"].get("ignore") == (4 if option == "ignore" else None)
    # A case of which nothing is learned is a failure.
    assert ("2_t1.mha" in [failure.file for failure in report.failures]) == (option != "vertebra")


# --- running again ---


def test_finished_cases_are_kept_unless_their_scan_changes(own_cohort, tmp_path):
    first = run(own_cohort, tmp_path, contrast="t1")
    before = contents(first.dataset)
    times = {path: path.stat().st_mtime_ns for path in first.dataset.glob("*Tr/*")}
    again = run(own_cohort, tmp_path, contrast="t1")
    assert (again.counts["kept"], again.counts["converted"]) == (6, 0)
    assert again.cases == first.cases
    assert {path: path.stat().st_mtime_ns for path in first.dataset.glob("*Tr/*")} == times
    assert contents(first.dataset) == before
    write_series(own_cohort, "3_t1", seed=99)
    changed = run(own_cohort, tmp_path, contrast="t1")
    assert (changed.counts["kept"], changed.counts["converted"]) == (5, 1)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("imagesTr/SPIDER_003_t1_0000.nii.gz", lambda path: path.write_bytes(path.read_bytes()[:-100])),
        ("labelsTr/SPIDER_003_t1.nii.gz", Path.unlink),
        ("conversion/SPIDER_003_t1.json", lambda path: path.write_text('{"finished": false}')),
    ],
)
def test_incomplete_cases_are_made_again(cohort, tmp_path, file, damage):
    dataset = run(cohort, tmp_path, contrast="t1").dataset
    before = contents(dataset)
    damage(dataset / file)
    again = run(cohort, tmp_path, contrast="t1")
    assert (again.counts["kept"], again.counts["converted"]) == (5, 1)
    assert contents(again.dataset) == before


def test_cases_of_earlier_versions_are_kept(cohort, tmp_path):
    first = run(cohort, tmp_path, contrast="t1")
    for path in (first.dataset / "conversion").iterdir():
        record = json.loads(path.read_text())
        digests = dict(zip(("image", "label"), record["files"].values(), strict=True))
        earlier = {"finished": True, **record["made_from"], "outputs": digests, "facts": record["facts"]}
        path.write_text(json.dumps(earlier))
    again = run(cohort, tmp_path, contrast="t1")
    assert (again.counts["kept"], again.counts["converted"]) == (6, 0)
    assert again.cases == first.cases


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
    first = {"train": ["SPIDER_001", "SPIDER_002_t1_004", "SPIDER_099"], "test": ["SPIDER_003"] * 2}
    file.write_text(json.dumps([first, {"train": ["SPIDER_003"], "test": ["SPIDER_001"]}]))
    report = run(cohort, tmp_path, splits=file)
    both = {patient: [f"SPIDER_00{patient}_t1", f"SPIDER_00{patient}_t2"] for patient in (1, 3)}
    assert folds_of(report) == [
        {"train": [*both[1], "SPIDER_002_t1"], "val": both[3]},
        {"train": both[3], "val": both[1]},
    ]
    assert report.failures == []
    assert len(report.cases) == 12
    assert (report.counts["not_in_splits"], report.counts["only_in_splits"]) == (7, 1)
    assert any("SPIDER_002_t2, SPIDER_004_t1" in note for note in report.notes)
    file.write_text(json.dumps([{"train": ["SPIDER_098"], "val": ["SPIDER_099"]}]))
    with pytest.raises(UserError, match="none of the patients"):
        run(cohort, tmp_path / "other", splits=file)
    assert not (tmp_path / "other").exists()


def test_folds_stay_when_a_broken_series_is_repaired(own_cohort, tmp_path):
    whole = folds_of(run(own_cohort, tmp_path))
    mask = (own_cohort / "masks" / "4_t1.mha").rename(tmp_path / "kept.mha")
    broken = folds_of(run(own_cohort, tmp_path))
    without = [{side: [c for c in fold[side] if c != "SPIDER_004_t1"] for side in fold} for fold in whole]
    assert broken == without != whole
    mask.rename(own_cohort / "masks" / "4_t1.mha")
    assert folds_of(run(own_cohort, tmp_path)) == whole


def test_folds_do_not_depend_on_the_contrast(own_cohort, tmp_path):
    for path in (*own_cohort.glob("*/3_t1.mha"), *own_cohort.glob("*/4_t2.mha")):
        path.unlink()
    write_series(own_cohort, "7_t1")
    both = folds_of(run(own_cohort, tmp_path))
    for contrast in ("t1", "t2"):
        alone = folds_of(run(own_cohort, tmp_path, contrast=contrast))
        assert alone == [
            {side: [c for c in fold[side] if c.endswith(contrast)] for side in fold} for fold in both
        ]


def test_a_fold_that_cannot_be_validated_is_a_failure(own_cohort, tmp_path):
    for path in [*own_cohort.glob("*/*_t2.mha"), *own_cohort.glob("*/6_t1.mha")]:
        path.unlink()
    write_series(own_cohort, "1_t1", cosines=rotation((0, 0, 25)) @ SLICES_LAST)
    report = run(own_cohort, tmp_path)
    fold = next(number for number, fold in enumerate(folds_of(report)) if not fold["val"])
    (failure,) = report.failures
    assert str(failure).startswith(f"{report.splits_file}: fold {fold} ")


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
    assert _fingerprint_stays(cohort, tmp_path, seed=3, max_oblique_deg=0)


def test_lost_cases_and_interrupted_runs_make_nnunet_take_a_new_fingerprint(own_cohort, tmp_path):
    dataset = run(own_cohort, tmp_path, contrast="t1").dataset
    truncated(own_cohort)
    assert not _fingerprint_stays(own_cohort, tmp_path)
    assert _fingerprint_stays(own_cohort, tmp_path)
    (dataset / "dataset.json").unlink()
    assert not _fingerprint_stays(own_cohort, tmp_path)


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
    edited = folds_of(report)[::-1]
    report.splits_file.write_text(json.dumps(edited))
    (note,) = [note for note in run(cohort, tmp_path, contrast="t1").notes if "--splits" in note]
    kept = report.splits_file.with_name("splits_final.previous.json")
    assert note.startswith(f"{report.splits_file}: ")
    assert kept.name in note
    assert json.loads(kept.read_text()) == edited
    assert folds_of(report) == edited[::-1]
    # The file may be given back as it is.
    assert folds_of(run(cohort, tmp_path, contrast="t1", splits=kept)) == edited


# --- real scans ---


@pytest.mark.slow
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
