"""Which model is exported, where to, and what is in the way."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from nnunetv2_spinesegdiff.cli import main, segmenting
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.sharing.export import export_model
from nnunetv2_spinesegdiff.sharing.unpacking import is_export

from ..full_disk import says_that_the_disk_is_full


@pytest.fixture
def dataset(make_model, tmp_path) -> Path:
    """The results of a dataset with one trained model, and one whose training was only begun."""
    folder = tmp_path / "nnUNet_results" / "Dataset501_Toy"
    folder.mkdir(parents=True)
    make_model().folder.rename(folder / TRAINED)
    (folder / BEGUN / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (folder / BEGUN / name).write_text((folder / TRAINED / name).read_text())
    return folder


TRAINED, BEGUN = (
    "nnUNetTrainerSpineSegDiff__smallPlans__small",
    "nnUNetTrainerSpineSegDiff_T50__smallPlans__small",
)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone", TRAINED),
        (BEGUN, f"no fold has a .*{TRAINED}"),
        (f"{TRAINED}/fold_0", "results folder"),
        ("../../model.zip", "already a zip"),
        (f"{TRAINED}/plans.json", "is a file"),
    ],
)
def test_what_is_no_trained_model_is_refused_and_the_dataset_of_one_will_do(
    dataset, zipped, tmp_path, name, told
):
    with pytest.raises(UserError, match=told) as refused:
        export_model(dataset / name, tmp_path / "out.zip")
    assert str(refused.value).startswith(f"{dataset / name}: ")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.zip").exists()
    archive = export_model(dataset, tmp_path / "a.zip")
    assert archive.read_bytes() == export_model(dataset / TRAINED, tmp_path / "b.zip").read_bytes()


def test_a_trainer_that_was_not_trained_is_told_with_those_that_were(dataset, tmp_path, monkeypatch, capsys):
    for variable in ("nnUNet_results", "nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.setenv(variable, str(dataset.parent))
    monkeypatch.setattr(segmenting, "name_of_dataset", lambda *_: dataset.name)
    assert main(["export", "-d", "501", "-o", str(tmp_path / "out.zip")]) == 1
    told = capsys.readouterr().err
    assert "nnUNetTrainerSpineSegDiff__nnUNetPlans__2d: " in told
    assert TRAINED in told


def of_scans(path: Path) -> None:
    with ZipFile(path, "w") as archive:
        archive.writestr("patient/IM0001", "DICM")


IN_THE_WAY = {
    "a zip of scans": of_scans,
    "no zip": lambda path: path.write_text("notes"),
    "nothing": lambda path: path.write_bytes(b""),
    "half an export": lambda path: path.write_bytes(path.read_bytes()[:-100]),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_a_file_that_is_no_export_is_not_replaced(make_model, zipped, what, capsys):
    IN_THE_WAY[what](zipped.path)
    before = zipped.path.read_bytes()
    words = ["export", "-m", str(make_model().folder), "-o", str(zipped.path)]
    assert main(words) == 1
    assert f"error: {zipped.path}: " in capsys.readouterr().err
    assert zipped.path.read_bytes() == before
    assert main([*words, "--force"]) == 0
    assert is_export(zipped.path)
    assert main([*words, "--notes", "an earlier export is replaced"]) == 0
    assert "notes" in zipped.json("manifest.json")["details"]


@pytest.mark.parametrize("name", ["file.zip/x.zip", "file.zip/below/x.zip", f"{'x' * 300}.zip"])
def test_a_zip_that_cannot_be_written_is_one_line_and_nothing_is_left(make_model, tmp_path, name):
    model = make_model()
    (tmp_path / "file.zip").write_text("no folder")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="cannot be written") as refused:
        export_model(model.folder, tmp_path / name)
    assert str(refused.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has threads")
@pytest.mark.parametrize("most", [0, 2_000, 60_000])
def test_a_full_disk_is_one_line_and_nothing_is_left(make_model, tmp_path, most):
    model = make_model()
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "new" / "folder" / "model.zip"
    told = f"{out}: cannot be written (File too large)"
    assert says_that_the_disk_is_full(lambda: export_model(model.folder, out), most, told)
    assert sorted(tmp_path.rglob("*")) == before
