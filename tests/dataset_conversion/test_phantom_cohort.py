"""Phantoms on disk: layout, tables, resuming, and the same bits however they are made."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.phantom import cohort, make_phantom
from nnunetv2_spinesegdiff.dataset_conversion.phantom.patient import draw_patient
from nnunetv2_spinesegdiff.dataset_conversion.spider import find_series, read_image_and_mask

from nnunetv2_spinesegdiff.errors import UserError

SEED = 6  # its first patients come from the scanner with the largest pixels: quick


def _digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("phantom") / "cohort"
    written = make_phantom(output, patients=2, seed=SEED, num_processes=2)
    assert [path.name for path in written] == ["1_t1.mha", "1_t2.mha", "2_t1.mha", "2_t2.mha"]
    return output


def test_layout_is_spiders(phantom):
    names = {"1_t1.mha", "1_t2.mha", "2_t1.mha", "2_t2.mha"}
    assert {path.name for path in phantom.iterdir()} == {
        "images", "masks", "overview.csv", "radiological_gradings.csv", cohort.NOTE,
    }  # fmt: skip
    assert {path.name for path in (phantom / "images").iterdir()} == names
    assert {path.name for path in (phantom / "masks").iterdir()} == names


def test_converter_reads_it_and_masks_have_the_images_geometry(phantom):
    found = find_series(phantom, "t1t2", "t2")
    assert len(found.sources) == 4
    assert not found.ignored
    for files in found.sources:
        image, mask = read_image_and_mask(files)
        raw = sitk.ReadImage(str(files.mask))
        assert raw.GetOrigin() == image.GetOrigin()
        assert raw.GetSpacing() == image.GetSpacing()
        assert raw.GetDirection() == image.GetDirection()
        assert mask.GetPixelID() == sitk.sitkUInt8
        assert image.GetPixelID() == sitk.sitkInt16
        array = sitk.GetArrayFromImage(image)
        assert array.min() >= 0
        assert 200 < np.percentile(array, 99) < 4000


def test_tables_agree_with_the_masks(phantom):
    gradings = _rows(phantom / "radiological_gradings.csv")
    for row in _rows(phantom / "overview.csv"):
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(phantom / "masks" / f"{row['new_file_name']}.mha")))
        numbers = set(np.unique(mask).tolist())
        patient = row["new_file_name"].split("_")[0]
        graded = {200 + int(g["IVD label"]) for g in gradings if g["Patient"] == patient}
        assert {n for n in numbers if n > 200} == graded
        assert int(row["num_discs"]) == len(graded)
        assert int(row["num_vertebrae"]) == len([n for n in numbers if 0 < n < 100 or 100 < n <= 125])


def test_a_patient_is_the_same_whoever_else_is_made(phantom, tmp_path):
    make_phantom(tmp_path / "alone", patients=1, seed=SEED, num_processes=1, first_patient=2)
    together, alone = _digests(phantom), _digests(tmp_path / "alone")
    for folder in ("images", "masks"):
        for name in ("2_t1.mha", "2_t2.mha"):
            assert alone[f"{folder}/{name}"] == together[f"{folder}/{name}"]
        assert f"{folder}/1_t1.mha" not in alone


def test_resuming_adds_only_what_is_missing(phantom, tmp_path, monkeypatch):
    output = tmp_path / "cohort"
    shutil.copytree(phantom, output)
    whole = _digests(output)
    for name in ("images/1_t1.mha", "masks/1_t1.mha", "overview.csv"):
        (output / name).unlink()
    (output / "images" / ".1_t1.abc.part.mha").write_bytes(b"left behind")
    made = []
    original = cohort.write_series

    def counted(folder, patient, acquisition):
        made.append(patient.stem(acquisition))
        return original(folder, patient, acquisition)

    monkeypatch.setattr(cohort, "write_series", counted)
    make_phantom(output, patients=2, seed=SEED, num_processes=1)
    assert made == ["1_t1"]
    assert _digests(output) == whole


def _lost(path: Path) -> None:
    path.unlink()


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_lost, _emptied])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_series_without_its_image_or_mask_is_made_again(phantom, tmp_path, folder, damage):
    output = tmp_path / "cohort"
    shutil.copytree(phantom, output)
    damage(output / folder / "2_t2.mha")
    make_phantom(output, patients=2, seed=SEED, num_processes=1)
    assert _digests(output) == _digests(phantom)


def test_only_temporary_files_are_removed(phantom, tmp_path):
    output = tmp_path / "cohort"
    shutil.copytree(phantom, output)
    for name in ("images/.1_t1.abc.part.mha", "masks/.2_t2.x_y.part.mha", "masks/notes.part.txt"):
        (output / name).write_bytes(b"left behind")
    make_phantom(output, patients=1, seed=SEED, num_processes=1)
    assert set(_digests(output)) - set(_digests(phantom)) == {"masks/notes.part.txt"}


def test_tables_leave_out_series_without_a_mask(phantom, tmp_path):
    output = tmp_path / "cohort"
    shutil.copytree(phantom, output)
    (output / "masks" / "2_t2.mha").unlink()
    make_phantom(output, patients=1, seed=SEED, num_processes=1)
    names = [row["new_file_name"] for row in _rows(output / "overview.csv")]
    assert names == ["1_t1", "1_t2", "2_t1"]


@pytest.mark.parametrize("name", ["overview.csv", "radiological_gradings.csv"])
def test_lines_of_tables_end_as_spiders(phantom, name):
    content = (phantom / name).read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"\n")


def test_tables_list_what_earlier_runs_left(phantom, tmp_path):
    output = tmp_path / "cohort"
    shutil.copytree(phantom, output)
    written = make_phantom(output, patients=1, seed=SEED, num_processes=1)
    assert [path.name for path in written] == ["1_t1.mha", "1_t2.mha"]
    assert len(_rows(output / "overview.csv")) == 4


def test_nothing_half_written_is_left_when_writing_fails(tmp_path, monkeypatch):
    empty = np.zeros((2, 2, 2), np.int16), np.zeros((2, 2, 2), np.uint8)
    monkeypatch.setattr(cohort, "render", lambda *_: empty)
    written = sitk.WriteImage

    def fails_on_images(volume, name, **kwargs):
        written(volume, name, **kwargs)
        if volume.GetPixelID() == sitk.sitkInt16:
            raise RuntimeError("no space left on device")

    monkeypatch.setattr(sitk, "WriteImage", fails_on_images)
    patient = draw_patient(SEED, 1)
    with pytest.raises(RuntimeError, match="no space"):
        cohort.write_series(tmp_path, patient, patient.acquisitions[0])
    assert [path.name for path in tmp_path.rglob("*.mha")] == ["1_t1.mha"]
    assert not list((tmp_path / "images").iterdir())


def test_foreign_folders_and_other_seeds_are_refused(phantom, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    before = _digests(tmp_path)
    with pytest.raises(UserError, match="not empty"):
        make_phantom(tmp_path, patients=1, seed=0)
    assert _digests(tmp_path) == before
    with pytest.raises(UserError, match="another seed"):
        make_phantom(phantom, patients=1, seed=SEED + 1)
    assert json.loads((phantom / cohort.NOTE).read_text())["seed"] == SEED


def test_a_place_that_cannot_be_written_is_told_in_one_line():
    with pytest.raises(UserError, match=r"^/dev/null/x: cannot be written \(.+\); .+$"):
        make_phantom(Path("/dev/null/x"), patients=1, seed=SEED, num_processes=1)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path, processes):
    output = tmp_path / "cohort"
    output.mkdir()
    cohort.save_json({**_note(), "seed": SEED}, output / cohort.NOTE)
    (output / "masks").write_bytes(b"a file where the folder belongs")
    with pytest.raises(UserError, match=r"cannot be written \(.+\)"):
        make_phantom(output, patients=1, seed=SEED, num_processes=processes)


def _note() -> dict[str, object]:
    return {"made_by": "spinesegdiff phantom", "model_version": cohort.MODEL_VERSION}


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"seed": -1}, {"first_patient": 0}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(UserError):
        make_phantom(tmp_path / "new", **{"patients": 1, "seed": 0, **wrong})
    assert not (tmp_path / "new").exists()
