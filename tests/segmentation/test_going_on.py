"""Runs into a folder that holds results: what is kept, made anew and told of."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.segmentation.overview import OVERVIEW
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings

from ..helpers.model_cohort import contents, run
from ..helpers.model_spine import spine, write

pytestmark = pytest.mark.usefixtures("quick_pictures")


def test_finished_scans_are_skipped_and_spoilt_ones_made_again(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans, out)
    before = contents(out)
    again = run(scans, out)
    assert (again.segmented, again.kept) == ([], ["scan0", "scan1", "scan2"])
    assert len(stand_in_model) == 1, "the model is not even loaded"
    (out / "scan0_seg.nii.gz").write_bytes((out / "scan0_seg.nii.gz").read_bytes()[:-20])
    (out / "scan2_overlay.png").unlink()
    assert run(scans, out).segmented == ["scan0", "scan2"]
    assert contents(out) == before


def test_other_scans_settings_or_flags_are_made_again(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans, out)
    write(spine(7), scans / "scan1.mha")
    os.utime(scans / "scan1.mha", (1, 1))
    assert run(scans, out).segmented == ["scan1"]
    mirrored = replace(SegmentationSettings(), mirroring=False)
    assert len(run(scans, out, settings=mirrored).segmented) == 3
    assert len(run(scans, out, settings=SegmentationSettings(slices="all")).segmented) == 3
    rows = pd.read_csv(out / "measurements.csv")
    assert (rows["volume_mm3"].dropna() > 0).all()
    assert rows["volume_mm3"].notna().any()


def test_another_scan_of_the_same_name_size_and_time_is_another_one(tmp_path, stand_in_model):
    for patient in (1, 2):
        path = tmp_path / str(patient) / "scan.mha"
        path.parent.mkdir()
        sitk.WriteImage(spine(patient), str(path), useCompression=False)
        os.utime(path, (1, 1))
    assert run(tmp_path / "1" / "scan.mha", tmp_path / "out").segmented == ["scan"]
    other = run(tmp_path / "2" / "scan.mha", tmp_path / "out")
    assert other.segmented == ["scan"]
    assert "replaces the results of another scan" in other.warnings["scan"][0]
    settings = SegmentationSettings(slices=2)
    assert not run(tmp_path / "2" / "scan.mha", tmp_path / "out", settings=settings).warnings
    assert run(tmp_path / "2" / "scan.mha", tmp_path / "out").segmented == ["scan"]
    os.utime(path, (2, 2))
    path.rename(tmp_path / "scan.mha")
    assert run(tmp_path / "scan.mha", tmp_path / "out").kept == ["scan"]


def test_what_an_earlier_run_made_otherwise_is_not_told_as_made_by_this_one(scans, tmp_path, stand_in_model):
    other = replace(SegmentationSettings(), mirroring=False)
    run(scans / "scan0.nii.gz", tmp_path / "out", settings=other)
    run(scans / "scan1.mha", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["settings"]["mirroring"] is True
    assert told["scans"]["scan0"]["made_with"] == {"settings": other.as_record()}
    assert "made_with" not in told["scans"]["scan1"]


def test_a_flag_that_fails_takes_no_results_away(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans, out)
    before = contents(out)
    failed = run(scans, out, settings=SegmentationSettings(slices=99))
    assert len(failed.failures) == 3
    assert contents(out) | {OVERVIEW: b""} == before | {OVERVIEW: b""}
    assert (out / OVERVIEW).read_text().count("Failed: ") == 3
    told = json.loads((out / "run.json").read_text())["scans"]["scan1"]
    assert "99" in told["failure"]
    assert len(told["files"]) == 5
    assert run(scans, out).kept == ["scan0", "scan1", "scan2"]
    assert "failure" not in json.loads((out / "run.json").read_text())["scans"]["scan1"]


def test_scans_of_earlier_runs_are_noted(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans, out)
    (scans / "scan1.mha").rename(scans / "renamed.mha")
    (note,) = run(scans, out).notes
    assert note == f"{out}: measurements.csv also holds 1 scan of earlier runs (scan1)"
    assert run(scans, out, part=(0, 2)).notes == [note]  # scans of the other part are none of these
