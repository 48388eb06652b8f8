"""For Python: one model, any number of scans, no word on the screen."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

import nnunetv2_spinesegdiff
from nnunetv2_spinesegdiff import Failure, Segmentation, SpineSegmenter, UserError
from nnunetv2_spinesegdiff.diffusion.settings import SamplerSettings
from nnunetv2_spinesegdiff.segmentation import api
from nnunetv2_spinesegdiff.segmentation.measurements import COLUMNS, table_of, write_measurements
from nnunetv2_spinesegdiff.sharing import bundled

from ..images.made_up import write_series, zipped
from .made_up import reading_model, spine, spine_labels, write


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture(autouse=True)
def stand_in(temporary, monkeypatch):
    monkeypatch.setattr(api, "open_model", lambda path, scratch, **choice: SimpleNamespace())
    monkeypatch.setattr(api, "SliceModel", lambda opened, settings, device: reading_model())


def test_the_package_shows_what_it_offers_and_loads_it_when_it_is_used():
    assert set(nnunetv2_spinesegdiff.__all__) <= set(dir(nnunetv2_spinesegdiff))
    with pytest.raises(AttributeError, match="has no attribute 'Spine'"):
        nnunetv2_spinesegdiff.Spine  # noqa: B018
    loaded = "print('torch' in sys.modules)"
    code = f"import sys, nnunetv2_spinesegdiff as n; dir(n), n.UserError; {loaded}; n.Failure; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "True"]
    names: dict[str, Any] = {}
    exec("from nnunetv2_spinesegdiff import *", names)
    assert names["Segmentation"] is Segmentation


def test_a_path_and_an_image_give_the_same_and_nothing_is_left_or_said(tmp_path, temporary, capfd):
    path = write(spine(), tmp_path / "scan.mha")
    image = sitk.ReadImage(str(path))
    with SpineSegmenter("model.zip") as segmenter:
        made = [segmenter.segment(given) for given in (path, str(path), image)]
    for one in made:
        assert np.array_equal(sitk.GetArrayFromImage(one.mask)[3], spine_labels()[3])
        assert one.table.equals(made[0].table)
    assert [one.name for one in made] == ["scan"] * 3
    assert list(temporary.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_what_is_not_closed_goes_with_the_object(temporary):
    segmenter = SpineSegmenter("model.zip")
    assert list(temporary.iterdir())
    del segmenter
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_failures_stand_in_the_places_of_their_scans(tmp_path):
    good = write(spine(), tmp_path / "good.mha")
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / name for name in ("gone.mha", "bad.nii.gz", "good.mha", "notes.txt", "empty")]
    with SpineSegmenter("model.zip") as segmenter:
        made = list(segmenter.segment_each([*paths, good]))
    assert [type(one) for one in made] == [Failure, Failure, Segmentation, Failure, Failure, Segmentation]
    for path, one in zip(paths, made, strict=False):
        assert isinstance(one, Segmentation) or one.reason.startswith(f"{path}: ")


def test_images_and_paths_may_be_mixed_and_keep_their_places(tmp_path):
    path = write(spine(), tmp_path / "good.mha")
    labels = sitk.LabelImageToLabelMap(sitk.GetImageFromArray(spine_labels()))
    picture = sitk.Image([9, 9], sitk.sitkUInt8)
    given = [spine(), path, picture, labels, None, np.zeros((3, 4, 5)), spine(1)]
    with SpineSegmenter("model.zip") as segmenter:
        made = list(segmenter.segment_each(one for one in given))
    assert [type(one) for one in made] == [Segmentation] * 2 + [Failure] * 4 + [Segmentation]
    assert [one.name for one in made if isinstance(one, Segmentation)] == ["scan_0", "good", "scan_6"]
    for number, told in enumerate(("2D picture", "label map", "not as NoneType", "not as ndarray"), start=2):
        failure = made[number]
        assert isinstance(failure, Failure)
        assert failure.reason.startswith(f"scan_{number}: ")
        assert told in failure.reason


def test_what_becomes_of_an_image_after_it_was_taken_does_not_matter():
    reused = spine()

    def images():
        yield reused
        for row in range(220):
            reused[:, row, :] = 0
        yield spine()

    with SpineSegmenter("model.zip") as segmenter:
        assert [type(one) for one in segmenter.segment_each(images())] == [Segmentation] * 2


def test_one_image_is_one_scan_and_nothing_is_refused_at_once():
    with SpineSegmenter("model.zip") as segmenter:
        assert [type(one) for one in segmenter.segment_each(spine())] == [Segmentation]
        given: Any
        for given in (None, nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))):
            with pytest.raises(UserError, match="SimpleITK image, not as"):
                segmenter.segment_each(given)


def test_a_zipped_exam_is_there_until_the_next_scan_is_asked_for(tmp_path, temporary):
    (tmp_path / "zips").mkdir()
    for number in range(3):
        write_series(tmp_path / f"exam{number}", spine(number))
        zipped(tmp_path / f"exam{number}", tmp_path / "zips" / f"exam{number}.zip")
    with SpineSegmenter("model.zip") as segmenter:
        seen: list[Path] = []
        for one in segmenter.segment_each(tmp_path / "zips"):
            assert isinstance(one, Segmentation)
            assert all(file.is_file() for file in one.scan.dicom_files)
            assert not any(file.exists() for file in seen)
            seen += one.scan.dicom_files
    assert len(seen) == 3 * 7


def exam(tmp_path: Path, number: int = 0) -> Path:
    write_series(tmp_path / f"exam{number}", spine(number))
    (tmp_path / "zips").mkdir(exist_ok=True)
    return zipped(tmp_path / f"exam{number}", tmp_path / "zips" / f"exam{number}.zip")


def unpacked(temporary: Path) -> list[Path]:
    """DICOM files in the one scratch folder that there is."""
    return list(temporary.rglob("*.dcm"))


def test_of_zips_only_the_last_ones_files_are_there(tmp_path, temporary):
    paths = [exam(tmp_path, number) for number in range(3)]
    with SpineSegmenter("model.zip") as segmenter:
        for path in paths:
            one = segmenter.segment(path)
            assert all(file.is_file() for file in one.scan.dicom_files)
            assert len(unpacked(temporary)) == len(one.scan.dicom_files)
        (tmp_path / "bad.mha").write_bytes(b"no scan")
        with pytest.raises(UserError):
            segmenter.segment(tmp_path / "bad.mha")
        assert not any(file.exists() for file in one.scan.dicom_files)
        segmenter.segment(spine())
        assert unpacked(temporary) == []


def test_a_scan_on_the_way_through_many_leaves_their_files_alone(tmp_path, temporary):
    path = exam(tmp_path)
    with SpineSegmenter("model.zip") as segmenter:
        for one in segmenter.segment_each([path, path]):
            segmenter.segment(path)
            assert isinstance(one, Segmentation)
            assert all(file.is_file() for file in one.scan.dicom_files)
        segmenter.segment(spine())
        assert unpacked(temporary) == []


def test_what_many_scans_leave_when_they_are_not_all_asked_for_goes_with_the_next_call(tmp_path, temporary):
    with SpineSegmenter("model.zip") as segmenter:
        one = next(segmenter.segment_each([exam(tmp_path, number) for number in range(3)]))
        assert isinstance(one, Segmentation)
        assert all(file.is_file() for file in one.scan.dicom_files)
        segmenter.segment(spine())
        assert unpacked(temporary) == []


def test_a_closed_one_says_so(tmp_path):
    path = write(spine(), tmp_path / "scan.mha")
    with SpineSegmenter("model.zip") as segmenter:
        begun = segmenter.segment_each([path] * 9)
        next(begun)
    segmenter.close()
    for ask in (lambda: segmenter.segment(path), lambda: segmenter.segment_each(path), lambda: next(begun)):
        with pytest.raises(UserError, match="this SpineSegmenter was closed; make a new one"):
            ask()


def test_files_that_are_there_are_replaced_only_where_that_is_said(tmp_path):
    own = tmp_path / "out" / "scan_uncertainty.nii.gz"
    own.parent.mkdir()
    own.write_text("somebody's")
    with SpineSegmenter("model.zip") as segmenter:
        result = segmenter.segment(spine())
    with pytest.raises(UserError, match=rf"^{own}: is there already; .*overwrite=True$"):
        result.save(own.parent)
    assert [path.name for path in own.parent.iterdir()] == [own.name]
    assert own.read_text() == "somebody's"
    saved = result.save(own.parent, overwrite=True)
    assert own in saved
    assert own.read_bytes()[:2] == b"\x1f\x8b"
    assert [path.suffix for path in saved] == [".gz", ".gz", ".png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"^{tmp_path / 'file'}: "):
        result.save(tmp_path / "file")


def test_a_dicom_segmentation_that_comes_too_late_says_so_before_anything_is_written(tmp_path):
    path = exam(tmp_path)
    with SpineSegmenter("model.zip") as segmenter:
        result = segmenter.segment(path)
        segmenter.segment(path)
        with pytest.raises(UserError, match=rf"^{path}: what was unpacked of it is gone; "):
            result.save(tmp_path / "out", dicom_seg=True)
        assert not (tmp_path / "out").exists()
        assert len(result.save(tmp_path / "out")) == 3


def test_scans_are_called_what_the_caller_says(tmp_path):
    path = write(spine(), tmp_path / "scan.mha")
    with SpineSegmenter("model.zip") as segmenter:
        for given in (spine(), path):
            result = segmenter.segment(given, name="exam 7")
            assert result.name == "exam 7"
            assert set(result.table["scan"]) == {"exam 7"}
        assert segmenter.segment(spine()).name == "scan"
        name: Any
        for name in ("", "..", "a/b", "/a", ".a", "a.mha", "a\n", "n" * 200, 7):
            with pytest.raises(UserError, match=r"^name .*: is no name of files; "):
                segmenter.segment(spine(), name=name)


def test_the_table_is_that_of_the_file(tmp_path):
    with SpineSegmenter("model.zip") as segmenter:
        result = segmenter.segment(spine())
    table = result.table
    assert table["volume_mm3"].isna().all()
    kinds = {column: str(kind) for column, kind in table.dtypes.items()}
    texts = {"scan", "structure", "remark", "use"}
    whole = {"slice": "int64", "number": "Int64", "parts": "Int64", "low_agreement": "boolean"}
    assert {name: kind for name, kind in kinds.items() if name not in texts | set(whole)} == dict.fromkeys(
        set(COLUMNS) - texts - set(whole), "float64"
    )
    assert {name: kinds[name] for name in whole} == whole
    write_measurements(result.measurements, tmp_path / "measurements.csv")
    read = pd.read_csv(tmp_path / "measurements.csv", dtype=table.dtypes.to_dict())
    pd.testing.assert_frame_equal(read.fillna({"remark": ""}), table, rtol=1e-5)
    assert list(table_of([]).dtypes[list(whole)].astype(str)) == list(whole.values())


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"slices": "first"}, "choose auto, middle, all, or a number"),
        ({"slices": -1}, "choose auto, middle, all, or a number"),
        ({"slices": True}, "choose auto, middle, all, or a number"),
        ({"preset": "best"}, "no preset 'best'"),
        ({"precision": "double"}, "no precision 'double'"),
        ({"steps": 3}, "no setting 'steps'"),
        ({"slices": np.bool_(True)}, "choose auto, middle, all, or a number"),
        ({"slices": np.array([1, 2])}, "choose auto, middle, all, or a number"),
        ({"device": "tpu"}, "no device 'tpu'; choose cpu, cuda or mps"),
        ({"device": "xpu"}, "no device 'xpu'; choose cpu, cuda or mps"),
        ({"device": "meta"}, "no device 'meta'; choose cpu, cuda or mps"),
        ({"device": 0.5}, "choose cpu, cuda or mps"),
        ({"refine": False, "seed": 3}, "^seed: nothing is sampled without refinement; "),
        ({"series": True}, "^series True: choose its number, UID or description"),
        ({"series": 6.0}, "^series 6.0: choose its number, UID or description"),
        ({"folds": 0.5}, "^folds 0.5: choose numbers of folds"),
        ({"folds": [0, None]}, "^folds .*: choose numbers of folds"),
        ({"folds": True}, "^folds True: choose numbers of folds"),
        ({"schedule": "linear"}, "no setting 'schedule' of a sampler, only num_samples, t_start, ddim_steps"),
        ({"num_samples": 2.0}, "^num_samples = 2.0 is no whole number"),
        ({"seed": "7"}, "^seed = '7' is no whole number"),
        ({"ddim_steps": True}, "^ddim_steps = True is no whole number"),
        ({"eta": "0.5"}, "^eta = '0.5' is no number"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(choice, told, temporary):
    with pytest.raises(UserError, match=told) as refused:
        SpineSegmenter("model.zip", **choice)
    assert "\n" not in str(refused.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("folds", "names"),
    [
        (None, None),
        (0, ["0"]),
        ("0", ["0"]),
        ("all", ["all"]),
        ([0, 1], ["0", "1"]),
        (("0", np.int64(3)), ["0", "3"]),
        (np.arange(2), ["0", "1"]),
        (range(2), ["0", "1"]),
    ],
)
def test_folds_may_be_one_or_several_numbers_or_words(folds, names, monkeypatch):
    opened = []
    monkeypatch.setattr(api, "open_model", lambda path, scratch, **choice: opened.append(choice["folds"]))
    SpineSegmenter("model.zip", folds=folds)
    assert opened == [names]


def test_numbers_of_any_library_are_taken():
    given = {"slices": np.int64(5), "series": np.int16(6), "num_samples": np.uint8(3), "eta": np.float32(0.5)}
    settings = SpineSegmenter("model.zip", **given).settings
    assert (settings.slices, settings.series) == (5, "6")
    assert settings.prediction.changes == {"num_samples": 3, "eta": 0.5}
    assert json.dumps(settings.as_record())
    assert SpineSegmenter("model.zip", series=6).settings.series == "6"


def test_errors_name_arguments_without_dashes(monkeypatch):
    def too_deep(opened, settings, device):
        settings.prediction.sampler(SamplerSettings())

    monkeypatch.setattr(api, "SliceModel", too_deep)
    with pytest.raises(UserError, match=r"^t_start 31 is deeper than 30"):
        SpineSegmenter("model.zip", t_start=31)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((3, 4, 5)),
        nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)),
        ["a.mha"],
        None,
        b"a",
        5,
    ],
)
def test_what_is_neither_path_nor_image_is_refused_in_one_line(given):
    with SpineSegmenter("model.zip") as segmenter, pytest.raises(UserError) as refused:
        segmenter.segment(given)
    assert str(refused.value) == (
        "a scan is given as its path or as a SimpleITK image, not as "
        f"{type(given).__name__}; an array does not tell where its voxels lie"
    )


def test_a_label_map_is_refused_before_anything_touches_it():
    """Most functions of SimpleITK would end the process."""
    labels = sitk.LabelImageToLabelMap(sitk.GetImageFromArray(spine_labels()))
    with SpineSegmenter("model.zip") as segmenter, pytest.raises(UserError, match=r"^scan: is a label map"):
        segmenter.segment(labels)


@pytest.mark.parametrize("model", [5, b"model.zip"])
def test_a_model_is_a_name_or_a_path(model):
    with pytest.raises(UserError, match=rf"^model {model!r}: "):
        SpineSegmenter(model)


def test_without_a_model_the_default_one_is_opened(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(api, "open_model", lambda path, scratch, **choice: opened.append(path))
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    shipped = tmp_path / f"{bundled.DEFAULT}.zip"
    shipped.touch()
    for given in ((), (None,), (bundled.DEFAULT,)):
        SpineSegmenter(*given)
    SpineSegmenter(Path(bundled.DEFAULT))
    assert opened == [shipped] * 3 + [Path(bundled.DEFAULT)]
