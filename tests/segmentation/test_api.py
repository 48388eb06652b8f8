"""For Python: one model, any number of scans, no word on the screen."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

import nnunetv2_spinesegdiff
from nnunetv2_spinesegdiff import Failure, Segmentation, SpineSegmenter, UserError
from nnunetv2_spinesegdiff.diffusion.settings import SamplerSettings
from nnunetv2_spinesegdiff.segmentation import api
from nnunetv2_spinesegdiff.segmentation.measurements import COLUMNS, table_of, write_measurements
from nnunetv2_spinesegdiff.sharing import bundled

from ..helpers.model_spine import reading_model, spine, spine_labels, write
from ..helpers.scan_files import write_series, zipped


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


def test_paths_and_images_may_be_mixed_and_failures_keep_their_places(tmp_path):
    path = write(spine(), tmp_path / "good.mha")
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    (tmp_path / "empty").mkdir()
    labels = sitk.LabelImageToLabelMap(sitk.GetImageFromArray(spine_labels()))
    bad = [tmp_path / name for name in ("gone.mha", "bad.nii.gz", "empty")]
    wrong = [sitk.Image([9, 9], sitk.sitkUInt8), labels, None, np.zeros((3, 4, 5))]
    reused = spine()

    def given():
        yield from (reused, path, *bad, *wrong)
        for row in range(220):  # the caller's image may change as soon as it was taken
            reused[:, row, :] = 0
        yield spine(1)

    with SpineSegmenter("model.zip") as segmenter:
        made = list(segmenter.segment_each(given()))
        assert [type(one) for one in segmenter.segment_each(reused * 0 + spine())] == [Segmentation]
        with pytest.raises(UserError, match=r"^scan: "):  # most functions of SimpleITK would end the process
            segmenter.segment(labels)
    assert [type(one) for one in made] == [Segmentation] * 2 + [Failure] * 7 + [Segmentation]
    assert [one.name for one in made if isinstance(one, Segmentation)] == ["scan_0", "good", "scan_9"]
    reasons = [one.reason for one in made if isinstance(one, Failure)]
    subjects = [*map(str, bad), *(f"scan_{number}" for number in range(5, 9))]
    for reason, subject in zip(reasons, subjects, strict=True):
        assert reason.startswith(f"{subject}: ")


def exam(tmp_path: Path, number: int = 0) -> Path:
    write_series(tmp_path / f"exam{number}", spine(number))
    (tmp_path / "zips").mkdir(exist_ok=True)
    return zipped(tmp_path / f"exam{number}", tmp_path / "zips" / f"exam{number}.zip")


def test_a_zipped_exam_is_there_until_the_next_scan_is_asked_for(tmp_path, temporary):
    paths = [exam(tmp_path, number) for number in range(2)]
    (tmp_path / "bad.mha").write_bytes(b"no scan")

    def there(one: Segmentation | Failure) -> bool:
        assert isinstance(one, Segmentation)
        return all(file.is_file() for file in one.scan.dicom_files)

    with SpineSegmenter("model.zip") as segmenter:
        for path in paths:
            one = segmenter.segment(path)
            assert there(one)
            assert len(list(temporary.rglob("*.dcm"))) == len(one.scan.dicom_files)
        with pytest.raises(UserError):
            segmenter.segment(tmp_path / "bad.mha")
        assert not there(one)
        seen: list[Segmentation | Failure] = []
        for another in segmenter.segment_each(tmp_path / "zips"):
            segmenter.segment(paths[0])  # leaves the files of those on their way alone
            assert there(another)
            assert not any(there(earlier) for earlier in seen)
            seen.append(another)
        assert len(seen) == 2
        assert there(next(segmenter.segment_each(paths)))
        segmenter.segment(spine())
        assert not list(temporary.rglob("*.dcm"))


def test_a_closed_one_says_so_and_leaves_nothing(tmp_path, temporary):
    path = write(spine(), tmp_path / "scan.mha")
    with SpineSegmenter("model.zip") as segmenter:
        begun = segmenter.segment_each([path] * 9)
        next(begun)
    segmenter.close()
    for ask in (lambda: segmenter.segment(path), lambda: segmenter.segment_each(path), lambda: next(begun)):
        with pytest.raises(UserError, match="closed"):
            ask()
    assert not list(temporary.iterdir())
    not_closed = SpineSegmenter("model.zip")
    assert list(temporary.iterdir())
    del not_closed
    gc.collect()
    assert not list(temporary.iterdir())


def test_files_that_are_there_are_replaced_only_where_that_is_said(tmp_path):
    own = tmp_path / "out" / "scan_uncertainty.nii.gz"
    own.parent.mkdir()
    own.write_text("somebody's")
    with SpineSegmenter("model.zip") as segmenter:
        result = segmenter.segment(spine())
    with pytest.raises(UserError, match=rf"^{own}: already exists; .*overwrite=True$"):
        result.save(own.parent)
    assert [path.name for path in own.parent.iterdir()] == [own.name]
    assert own.read_text() == "somebody's"
    saved = result.save(own.parent, overwrite=True)
    assert own in saved
    assert own.read_bytes()[:2] == b"\x1f\x8b"
    assert [path.suffix for path in saved] == [".gz", ".gz", ".gz", ".nrrd", ".png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"^{tmp_path / 'file'}: "):
        result.save(tmp_path / "file")


@pytest.mark.parametrize("option", ["dicom_seg", "rtstruct"])
def test_dicom_results_of_other_scans_are_refused(option, tmp_path):
    path = write(spine(), tmp_path / "scan.mha")
    with SpineSegmenter("model.zip") as segmenter:
        result = segmenter.segment(path)
    with pytest.raises(UserError) as error:
        result.save(tmp_path / "out", **{option: True})
    assert error.value.subject == path
    assert not (tmp_path / "out").exists()


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
            with pytest.raises(UserError, match=r"^name .*: cannot be a name of files; "):
                segmenter.segment(spine(), name=name)


def test_the_table_is_that_of_the_file(tmp_path):
    with SpineSegmenter("model.zip") as segmenter:
        result = segmenter.segment(spine())
    table = result.table
    assert table["volume_mm3"].isna().all()
    kinds = {column: str(kind) for column, kind in table.dtypes.items()}
    texts = {"scan", "structure", "level", "remark", "level_confidence", "level_basis", "use"}
    whole = {"slice": "int64", "number": "Int64", "parts": "Int64", "low_agreement": "boolean"}
    assert {name: kind for name, kind in kinds.items() if name not in texts | set(whole)} == dict.fromkeys(
        set(COLUMNS) - texts - set(whole), "float64"
    )
    assert {name: kinds[name] for name in whole} == whole
    write_measurements(result.measurements, tmp_path / "measurements.csv")
    read = pd.read_csv(tmp_path / "measurements.csv", dtype=table.dtypes.to_dict())
    pd.testing.assert_frame_equal(read.fillna({"remark": ""}), table, rtol=1e-5)
    assert list(table_of([]).dtypes[list(whole)].astype(str)) == list(whole.values())


IMPOSSIBLE: dict[str, list[Any]] = {
    "slices": ["first", -1, True, np.bool_(True), np.array([1, 2])],
    "preset": ["best"],
    "precision": ["double"],
    "device": ["tpu", "xpu", "meta", 0.5],
    "series": [True, 6.0],
    "lowest_disc": ["L7-S1", 5, ["L5-S1"]],
    "folds": [0.5, [0, None], True],
    "num_samples": [2.0],
    "seed": ["7"],
    "ddim_steps": [True],
    "eta": ["0.5"],
    "steps": [3],
    "schedule": ["linear"],
    "model": [5, b"model.zip"],
}


@pytest.mark.parametrize(
    "choice",
    [
        *({name: value} for name, values in IMPOSSIBLE.items() for value in values),
        {"refine": False, "seed": 3},
    ],
    ids=str,
)
def test_impossible_arguments_are_refused_by_name_in_one_line(choice, temporary):
    with pytest.raises(UserError, match=list(choice)[-1]) as refused:
        SpineSegmenter(**{"model": "model.zip", **choice})
    assert "\n" not in str(refused.value)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("folds", "names"),
    [(None, None), (0, ["0"]), ("all", ["all"]), (("0", np.int64(3)), ["0", "3"]), (range(2), ["0", "1"])],
)
def test_numbers_and_folds_of_any_library_are_taken(folds, names, monkeypatch):
    opened = []
    monkeypatch.setattr(api, "open_model", lambda path, scratch, **choice: opened.append(choice["folds"]))
    given = {"slices": np.int64(5), "series": np.int16(6), "num_samples": np.uint8(3), "eta": np.float32(0.5)}
    settings = SpineSegmenter("model.zip", folds=folds, **given).settings
    assert opened == [names]
    assert (settings.slices, settings.series) == (5, "6")
    assert settings.prediction.changes == {"num_samples": 3, "eta": 0.5}
    assert json.dumps(settings.as_record())


def test_what_machine_or_model_cannot_do_is_refused_by_the_name_of_the_argument(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"CUDA device.*cpu"):
        SpineSegmenter("model.zip", device="cuda")

    def too_deep(opened, settings, device):
        settings.prediction.sampler(SamplerSettings())

    monkeypatch.setattr(api, "SliceModel", too_deep)
    with pytest.raises(UserError, match=r"^t_start 31 is deeper than 30"):
        SpineSegmenter("model.zip", t_start=31)


@pytest.mark.parametrize(
    "given",
    [np.zeros(9), nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), ["a.mha"], None, b"a"],
)
def test_what_is_neither_path_nor_image_is_refused_in_one_line(given):
    with SpineSegmenter("model.zip") as segmenter:
        with pytest.raises(UserError, match=rf"SimpleITK image, not as {type(given).__name__}") as refused:
            segmenter.segment(given)
        assert "\n" not in str(refused.value)
        if not isinstance(given, Iterable):
            with pytest.raises(UserError, match="SimpleITK image"):
                segmenter.segment_each(given)


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
