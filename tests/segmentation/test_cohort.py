"""Whole cohorts: results, records, what is gone on with, what is left out, and what a kill leaves."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.segmentation import cohort, outputs
from nnunetv2_spinesegdiff.segmentation.outputs import Formats, ScanOutputs

from ..helpers.model_cohort import contents, even_scan, run
from ..helpers.model_spine import reading_model, spine, spine_labels, write
from ..helpers.scan_files import COMPLETE, write_series

pytestmark = pytest.mark.usefixtures("quick_pictures")


def test_what_is_written(scans, tmp_path, stand_in_model):
    done = run(scans, tmp_path / "out", command=["spinesegdiff", "segment"])
    out = tmp_path / "out"
    assert (done.segmented, done.kept, done.failures) == (["scan0", "scan1", "scan2"], [], [])
    visible = {path.name for path in out.iterdir() if path.name[0] != "."}
    endings = ("seg.nii.gz", "uncertainty.nii.gz", "levels.nii.gz", "levels.seg.nrrd", "overlay.png")
    of_all = {"run.json", "measurements.csv", "level_names.json", "level_colors.ctbl", "index.html"}
    assert visible == {f"scan{n}_{end}" for n in range(3) for end in endings} | of_all
    mask = sitk.ReadImage(str(out / "scan1_seg.nii.gz"))
    kept = np.zeros_like(spine_labels())
    kept[3] = spine_labels()[3]
    assert np.array_equal(sitk.GetArrayFromImage(mask), kept)
    rows = pd.read_csv(out / "measurements.csv")
    assert sorted(set(rows["scan"])) == ["scan0", "scan1", "scan2"]
    assert set(rows["use"]) == {"research use only"}
    assert set(rows["slice"]) == {3}
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == ["spinesegdiff", "segment"]
    assert record["model"] == {"name": "stand-in", "sha256": "abc", "folds": ["0"], "bundled": False}
    assert record["versions"]["torch"]
    assert record["scans"]["scan2"]["files"] == [f"scan2_{end}" for end in endings]


def test_formats_are_kept_where_asked_for(scans, tmp_path, stand_in_model):
    run(scans, tmp_path / "out", formats=Formats(keep=True))
    for name in ("scan0_seg.nii.gz", "scan1_seg.mha", "scan2_seg.nrrd"):
        mask = sitk.ReadImage(str(tmp_path / "out" / name))
        assert mask.GetPixelID() == sitk.sitkUInt8
        assert mask.GetOrigin() == pytest.approx(spine().GetOrigin())
    # Asked for otherwise, they are made again, and none is left of the other kind.
    run(scans, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.mha"))
    assert (tmp_path / "out" / "scan1_seg.nii.gz").exists()


def test_rt_structure_sets_are_written_where_asked_for(tmp_path, stand_in_model):
    exam, out = write_series(tmp_path / "exam", spine(), **COMPLETE), tmp_path / "out"
    words = ["segment", "-i", str(exam), "-o", str(out), "-m", "model.zip", "-device", "cpu"]
    assert main([*words, "--rtstruct"]) == 0
    written = out / "exam_seg.rtstruct.dcm"
    assert dcmread(written).Modality == "RTSTRUCT"
    assert written.name in json.loads((out / "run.json").read_text())["scans"]["exam"]["files"]
    with_regions = Formats(rtstruct=True)
    assert run(exam, out, formats=with_regions).kept == ["exam"]
    written.write_bytes(b"damaged")
    assert run(exam, out, formats=with_regions).segmented == ["exam"]
    assert dcmread(written).Modality == "RTSTRUCT"
    assert run(exam, out).segmented == ["exam"]
    assert not list(out.glob("*.dcm"))


def test_parts_make_together_what_one_makes(scans, tmp_path, stand_in_model):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    run(scans, whole)
    for part in (2, 1, 0):
        run(scans, shared, part=(part, 3))
    assert contents(shared) == contents(whole)
    told = [json.loads((out / "run.json").read_text())["scans"] for out in (whole, shared)]
    assert [set(scans) for scans in told] == [{"scan0", "scan1", "scan2"}] * 2


def test_one_bad_scan_stops_no_other(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans, out)
    # All of one brightness: the stand-in takes it for a canal.
    write(even_scan(), scans / "scan1.mha")
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    (scans / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    done = run(scans, out)
    assert done.kept == ["scan0", "scan2"]
    assert [failure.source.name for failure in done.failures] == ["broken", "gone", "scan1"]
    assert "no spine" in done.failures[-1].reason
    assert str(scans / "scan1.mha") in done.failures[-1].reason
    assert not list(out.glob("scan1*")), "an earlier result of that name would pass for its own"
    told = json.loads((out / "run.json").read_text())["scans"]
    assert "no spine" in told["scan1"]["failure"]
    assert set(pd.read_csv(out / "measurements.csv")["scan"]) == {"scan0", "scan2"}


def test_what_goes_wrong_unexpectedly_is_one_line(scans, tmp_path, stand_in_model, monkeypatch):
    write_files = ScanOutputs.write_files

    def fails(self, *arguments):
        if self.name == "scan1":
            raise OSError(28, "No space left on device")
        return write_files(self, *arguments)

    monkeypatch.setattr(ScanOutputs, "write_files", fails)
    done = run(scans, tmp_path / "out")
    assert done.segmented == ["scan0", "scan2"]
    assert "No space left" in done.failures[0].reason
    assert "make room" in done.failures[0].reason
    assert "\n" not in done.failures[0].reason
    assert not list((tmp_path / "out").glob("scan1*"))


def test_disagreeing_stages_and_missing_structures_are_warned_of(tmp_path, stand_in_model, monkeypatch):
    def load(*_):
        model = reading_model(stage1_finds_discs=False)
        model.notes = ["of the model"]
        return model

    monkeypatch.setattr(cohort, "SliceModel", load)
    write(spine(), tmp_path / "scan.mha")
    done = run(tmp_path / "scan.mha", tmp_path / "out")
    assert done.notes == ["of the model"]
    (warning,) = done.warnings["scan"]
    assert "disagree on ivd" in warning


def test_results_may_lie_next_to_a_single_scan_and_nowhere_else_among_scans(scans, tmp_path, stand_in_model):
    for out in (scans, scans / "inside", scans / "a" / "b"):
        with pytest.raises(UserError, match="-o"):
            run(scans, out)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=str(out)):
            run(scans, out)
    assert not stand_in_model, "the model is not even loaded"
    both = Formats(keep=True, dicom_seg=True, rtstruct=True)
    done = run(scans / "scan1.mha", scans, formats=both)
    assert done.segmented == ["scan1"]
    assert outputs.NO_DICOM in done.warnings["scan1"]
    assert run(scans / "scan1.mha", scans, formats=both).kept == ["scan1"]
    assert run(scans, tmp_path / "out").segmented == ["scan0", "scan1", "scan2"]


@pytest.mark.parametrize("name", ["scan1_seg.nii.gz", "scan1_overlay.png"])
@pytest.mark.parametrize("fails", [False, True])
def test_files_of_others_are_neither_replaced_nor_removed(name, fails, scans, stand_in_model):
    if fails:
        write(even_scan(), scans / "scan1.mha")
    (scans / name).write_text("drawn by hand")
    for _ in range(2):
        (failure,) = run(scans / "scan1.mha", scans).failures
        assert fails or failure.reason.startswith(f"{scans / name}: ")
        assert (scans / name).read_text() == "drawn by hand"
    (scans / name).unlink()
    assert run(scans / "scan1.mha", scans).segmented == ([] if fails else ["scan1"])


def test_what_is_passed_over_is_told(scans, tmp_path, stand_in_model, capsys):
    names = [f"old{number}.mgz" for number in range(7)]
    for name in names:
        (scans / name).touch()
    words = ["segment", "-i", str(scans), "-o", str(tmp_path / "out"), "-m", "model.zip", "-device", "cpu"]
    assert main(words) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: 7 ")]
    assert all(name in warning for name in names[:5])
    assert json.loads((tmp_path / "out" / "run.json").read_text())["passed_over"] == names


def test_an_output_folder_holds_no_scans(scans, tmp_path, stand_in_model):
    run(scans, tmp_path / "out")
    with pytest.raises(UserError, match=r"out: holds no scan, only results of an earlier run"):
        run(tmp_path / "out", tmp_path / "again")
    # What a killed run had begun is from here, too.
    record = tmp_path / "out" / outputs.RECORDS / "scan1.json"
    record.write_text(json.dumps({"unfinished": True}))
    with pytest.raises(UserError, match="only results of an earlier run"):
        run(tmp_path / "out", tmp_path / "again")
    # And what lies where a scan failed is not.
    record.write_text(json.dumps({"failure": "damaged"}))
    failures = run(tmp_path / "out", tmp_path / "again").failures
    assert "scan1_seg" in [failure.source.name for failure in failures]


def test_the_signal_of_discs_is_held_against_that_of_fluid_which_no_scaling_clips(tmp_path, stand_in_model):
    write(spine(), tmp_path / "scan.mha")
    run(tmp_path / "scan.mha", tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / "measurements.csv")
    discs = rows[(rows["structure"] == "ivd") & rows["number"].notna()]
    assert len(discs) >= 4
    assert np.allclose(discs["signal_relative_to_csf"], 0.8, atol=0.02), "800 of 1000, as drawn"
