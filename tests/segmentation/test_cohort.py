"""Whole cohorts: results, records, what is gone on with, what is left out, and what a kill leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.files import written_whole
from nnunetv2_spinesegdiff.images.finding import contents_of
from nnunetv2_spinesegdiff.segmentation import cohort, outputs
from nnunetv2_spinesegdiff.segmentation.cohort import ModelChoice, segment_cohort
from nnunetv2_spinesegdiff.segmentation.outputs import Formats, ScanOutputs
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings

from .made_up import spine, spine_labels, write

CHOICE = ModelChoice(Path("model"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the run's own record, by its name; hidden ones, too."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(folder)): without_seconds(path) for path in files}


def without_seconds(path: Path) -> bytes:
    if path.suffix != ".json" or ".part" in path.suffixes:
        return path.read_bytes()
    return json.dumps({**json.loads(path.read_text()), "seconds": 0}).encode()


def even_scan() -> sitk.Image:
    rng = np.random.default_rng(0)
    values = rng.integers(900, 1000, spine_labels().shape)
    values[:, :40] = rng.integers(0, 60, values[:, :40].shape)  # air
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(spine())
    return sitk.Cast(image, sitk.sitkInt16)


def run(scans: Path, out: Path, **more):
    return segment_cohort(scans, out, CHOICE, more.pop("settings", SegmentationSettings()), **more)


@pytest.fixture(autouse=True)
def quick_pictures(request, monkeypatch):
    """Drawing takes longer than all the rest; one test draws."""

    def draw(done, path):
        with written_whole(path) as temporary:
            sitk.WriteImage(sitk.GetImageFromArray(done.shown.mask), str(temporary))

    if request.function is not test_what_is_written:
        monkeypatch.setattr(outputs, "_draw", draw)


@pytest.fixture
def scans(tmp_path):
    for number, ending in enumerate((".nii.gz", ".mha", ".nrrd")):
        write(spine(number), tmp_path / "scans" / f"scan{number}{ending}")
    return tmp_path / "scans"


def test_what_is_written(scans, tmp_path, stand_in_model):
    done = run(scans, tmp_path / "out", command=["spinesegdiff", "segment"])
    out = tmp_path / "out"
    assert (done.segmented, done.kept, done.failures) == (["scan0", "scan1", "scan2"], [], [])
    visible = {path.name for path in out.iterdir() if path.name[0] != "."}
    expected = {f"scan{n}{end}" for n in range(3) for end in ("_seg.nii.gz", "_uncertainty.nii.gz")}
    assert visible == expected | {f"scan{n}_overlay.png" for n in range(3)} | {"run.json", "measurements.csv"}
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
    assert record["scans"]["scan2"]["files"] == [
        "scan2_seg.nii.gz",
        "scan2_uncertainty.nii.gz",
        "scan2_overlay.png",
    ]


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


def test_a_link_that_leads_nowhere_stops_no_other(scans, tmp_path, stand_in_model):
    (scans / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    done = run(scans, tmp_path / "out")
    assert done.segmented == ["scan0", "scan1", "scan2"]
    assert "a broken link" in done.failures[0].reason


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_make_together_what_one_makes(parts, scans, tmp_path, stand_in_model):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    run(scans, whole)
    for part in reversed(range(parts)):
        run(scans, shared, part=(part, parts))
    assert contents(shared) == contents(whole)
    told = [json.loads((out / "run.json").read_text())["scans"] for out in (whole, shared)]
    assert [set(scans) for scans in told] == [{"scan0", "scan1", "scan2"}] * 2


def test_one_bad_scan_stops_no_other(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans, out)
    # All of one brightness: the stand-in takes it for a canal.
    write(even_scan(), scans / "scan1.mha")
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    done = run(scans, out)
    assert done.kept == ["scan0", "scan2"]
    assert [failure.source.name for failure in done.failures] == ["broken", "scan1"]
    assert "no spine was found" in done.failures[1].reason
    assert str(scans / "scan1.mha") in done.failures[1].reason
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
    from nnunetv2_spinesegdiff.segmentation import cohort

    from .made_up import reading_model

    def load(*_):
        model = reading_model(stage1_finds_discs=False)
        model.notes = ["of the model"]
        return model

    monkeypatch.setattr(cohort, "SliceModel", load)
    write(spine(), tmp_path / "scan.mha")
    done = run(tmp_path / "scan.mha", tmp_path / "out")
    assert done.notes == ["of the model"]
    assert done.warnings == {"scan": ["stage 1 and the mask disagree on ivd (Dice 0.00): check it"]}


def test_where_nothing_can_be_written_is_one_line(scans, tmp_path, stand_in_model):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot be written") as told:
            run(scans, out)
        assert str(out) in str(told.value)
    assert not stand_in_model, "the model is not even loaded"


@pytest.mark.parametrize("out", [".", "inside", "a/b"])
def test_results_do_not_lie_among_the_scans(out, scans, stand_in_model):
    with pytest.raises(UserError, match="choose another with -o"):
        run(scans, scans / out)


def test_a_single_scan_may_have_its_results_beside_it(scans, stand_in_model):
    assert run(scans / "scan1.mha", scans).segmented == ["scan1"]
    assert run(scans / "scan1.mha", scans).kept == ["scan1"]


def test_what_is_passed_over_is_told(scans, tmp_path, stand_in_model, capsys):
    names = [f"old{number}.mgz" for number in range(7)]
    for name in names:
        (scans / name).touch()
    words = ["segment", "-i", str(scans), "-o", str(tmp_path / "out"), "-m", "model.zip", "-device", "cpu"]
    assert main(words) == 0
    said = "warning: 7 files were passed over, in no format that is read: old0.mgz, "
    assert f"{said}old1.mgz, old2.mgz, old3.mgz, old4.mgz, ...\n" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "run.json").read_text())["passed_over"] == names
    for name in names[1:]:
        (scans / name).unlink()
    assert main(words) == 0
    told = capsys.readouterr().err
    assert told.count("warning:") == 1
    assert "warning: 1 file was passed over, in no format that is read: old0.mgz\n" in told


def test_results_beside_scans_are_no_scans(scans, tmp_path, stand_in_model):
    run(scans / "scan1.mha", scans, formats=Formats(keep=True))
    assert run(scans, tmp_path / "out").segmented == ["scan0", "scan1", "scan2"]


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
    assert run(tmp_path / "out", tmp_path / "again").failures[0].source.name == "scan1_seg"


@pytest.mark.parametrize("name", ["scan1_seg.nii.gz", "scan1_seg.nrrd", "scan1_overlay.png"])
@pytest.mark.parametrize("fails", [False, True])
def test_files_of_others_are_neither_replaced_nor_removed(name, fails, scans, stand_in_model):
    if fails:
        write(even_scan(), scans / "scan1.mha")
    (scans / name).write_text("drawn by hand")
    for _ in range(2):
        (failure,) = run(scans / "scan1.mha", scans).failures
        assert fails or f"{scans / name}: is in the way" in failure.reason
        assert (scans / name).read_text() == "drawn by hand"
    (scans / name).unlink()
    assert run(scans / "scan1.mha", scans).segmented == ([] if fails else ["scan1"])


def test_a_segmentation_that_no_scan_of_the_kind_can_have_is_told(tmp_path, stand_in_model):
    write(spine(), tmp_path / "scan.mha")
    done = run(tmp_path / "scan.mha", tmp_path / "out", formats=Formats(dicom_seg=True))
    assert done.warnings == {"scan": ["no DICOM segmentation: the scan is no DICOM series"]}


def test_records_tell_how_not_only_that(scans, tmp_path, stand_in_model):
    settings = SegmentationSettings()
    run(scans, tmp_path / "out", settings=settings)
    other = replace(settings, mirroring=False)
    assert run(scans, tmp_path / "out", settings=other).segmented == ["scan0", "scan1", "scan2"]


def test_the_signal_of_discs_is_held_against_that_of_fluid_which_no_scaling_clips(tmp_path, stand_in_model):
    write(spine(), tmp_path / "scan.mha")
    run(tmp_path / "scan.mha", tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / "measurements.csv")
    discs = rows[(rows["structure"] == "ivd") & rows["number"].notna()]
    assert len(discs) >= 4
    assert np.allclose(discs["signal_relative_to_csf"], 0.8, atol=0.02), "800 of 1000, as drawn"


def test_the_first_result_does_not_wait_for_the_last_scan_to_be_hashed(tmp_path, stand_in_model, monkeypatch):
    for number in range(9):
        write(spine(number), tmp_path / "scans" / f"scan{number}.mha")
    there = {}

    def look(source):
        there[source.name] = (tmp_path / "out" / "scan0_seg.nii.gz").exists()
        return contents_of(source)

    monkeypatch.setattr(cohort, "contents_of", look)
    assert len(run(tmp_path / "scans", tmp_path / "out").segmented) == 9
    assert len(there) == 9
    assert there["scan8"]
