"""Phantoms on disk: layout, tables, resuming, and the same bits however they are made."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.phantom import cohort, make_phantom
from nnunetv2_spinesegdiff.dataset_conversion.spider import find_series, read_image_and_mask

from nnunetv2_spinesegdiff.errors import UserError

from ..helpers.converting import contents

SEED = 6  # its first patients come from the scanner with the largest pixels: quick
NAMES = ["1_t1.mha", "1_t2.mha", "2_t1.mha", "2_t2.mha"]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory, forked_workers) -> Path:
    output = tmp_path_factory.mktemp("phantom") / "cohort"
    written = make_phantom(output, patients=2, seed=SEED, num_processes=2)
    assert [path.name for path in written] == NAMES
    return output


@pytest.fixture
def copy(phantom, tmp_path) -> Path:
    return shutil.copytree(phantom, tmp_path / "cohort")


def test_the_layout_is_spiders_and_the_converter_reads_it(phantom):
    tables = ["overview.csv", "radiological_gradings.csv"]
    assert {path.name for path in phantom.iterdir()} == {"images", "masks", cohort.NOTE, *tables}
    for folder in ("images", "masks"):
        assert sorted(path.name for path in (phantom / folder).iterdir()) == NAMES
    for name in tables:
        content = (phantom / name).read_bytes()
        assert b"\r" not in content
        assert content.endswith(b"\n")
    found = find_series(phantom, "t1t2", "t2")
    assert len(found.sources) == 4
    assert not found.ignored
    for files in found.sources:
        image, mask = read_image_and_mask(files)
        raw = sitk.ReadImage(str(files.mask))
        for get in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(raw, get)() == getattr(image, get)()
        assert (mask.GetPixelID(), image.GetPixelID()) == (sitk.sitkUInt8, sitk.sitkInt16)
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
    make_phantom(tmp_path / "alone", patients=1, seed=SEED, num_processes=1)
    together, alone = contents(phantom), contents(tmp_path / "alone")
    series = {name for name in alone if name.endswith(".mha")}
    assert series == {f"{folder}/{name}" for folder in ("images", "masks") for name in NAMES[:2]}
    assert all(alone[name] == together[name] for name in series)


def test_resuming_adds_only_what_is_missing(phantom, copy, monkeypatch):
    whole = contents(copy)
    for name in ("images/1_t1.mha", "masks/1_t1.mha", "overview.csv"):
        (copy / name).unlink()
    for name in ("images/.1_t1.abc.part.mha", "masks/.2_t2.x_y.part.mha", "masks/notes.part.txt"):
        (copy / name).write_bytes(b"left behind")
    made = []
    original = cohort.write_series

    def counted(folder, patient, acquisition):
        made.append(patient.stem(acquisition))
        return original(folder, patient, acquisition)

    monkeypatch.setattr(cohort, "write_series", counted)
    make_phantom(copy, patients=2, seed=SEED, num_processes=1)
    assert made == ["1_t1"]
    (copy / "masks" / "notes.part.txt").unlink()
    assert contents(copy) == whole
    # The tables list whole series only, of earlier runs too.
    (copy / "masks" / "2_t2.mha").unlink()
    written = make_phantom(copy, patients=1, seed=SEED, num_processes=1)
    assert [path.name for path in written] == NAMES[:2]
    assert [row["new_file_name"] for row in _rows(copy / "overview.csv")] == ["1_t1", "1_t2", "2_t1"]


@pytest.mark.parametrize(("folder", "content"), [("images", None), ("masks", b"")])
def test_a_series_without_its_image_or_mask_is_made_again(phantom, copy, folder, content):
    path = copy / folder / "2_t2.mha"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    make_phantom(copy, patients=2, seed=SEED, num_processes=1)
    assert contents(copy) == contents(phantom)


def test_foreign_folders_and_other_seeds_are_rejected(phantom, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="not empty"):
        make_phantom(tmp_path, patients=1, seed=0)
    assert contents(tmp_path) == before
    with pytest.raises(UserError, match="another seed"):
        make_phantom(phantom, patients=1, seed=SEED + 1)
    assert json.loads((phantom / cohort.NOTE).read_text())["seed"] == SEED
    for wrong in ({"patients": 0}, {"seed": -1}):
        with pytest.raises(UserError):
            make_phantom(tmp_path / "new", **{"patients": 1, "seed": 0, **wrong})
        assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_be_written_is_told_in_one_line():
    with pytest.raises(UserError, match=r"^/dev/null/x: cannot be written \(.+\); .+$"):
        make_phantom(Path("/dev/null/x"), patients=1, seed=SEED, num_processes=1)


@pytest.mark.parametrize("processes", [1, 2])
def test_unwritable_folders_are_named(tmp_path, processes):
    note = {"made_by": "spinesegdiff phantom", "model_version": cohort.MODEL_VERSION, "seed": SEED}
    output = tmp_path / "cohort"
    output.mkdir()
    (output / cohort.NOTE).write_text(json.dumps(note))
    (output / "masks").write_bytes(b"a file where the folder belongs")
    for folder in (output, Path("/dev/null/x")):
        with pytest.raises(UserError, match=rf"^{folder}.*: cannot be written \(.+\)"):
            make_phantom(folder, patients=1, seed=SEED, num_processes=processes)
