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

from .converting import SPIDER_LIKE, contents, expected_files, rows, run, truncated
from .made_up import SLICES_LAST, rotation, write_series


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
    truncated(own_cohort)
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
