"""Opened models: a folder or a zip that is what it says, and every reason to refuse one."""

from __future__ import annotations

import io
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest
import torch
from nnunetv2.model_sharing.model_export import export_pretrained_model

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import zips
from nnunetv2_spinesegdiff.sharing import unpacking
from nnunetv2_spinesegdiff.sharing.export import export_model
from nnunetv2_spinesegdiff.sharing.opening import open_model
from nnunetv2_spinesegdiff.sharing.trained_folder import trained_folds

from ..helpers.model_folder import Malicious, write_model
from ..helpers.model_zips import Contents, Zip


@pytest.fixture
def scratch(tmp_path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def refused(zipped: Zip, scratch: Path, told: str) -> str:
    """The one line with which a zip is refused; nothing of it is left, and nothing was written elsewhere."""
    before = sorted(scratch.parent.rglob("*"))
    with pytest.raises(UserError, match=told) as error:
        open_model(zipped.path, scratch)
    assert str(error.value).startswith(f"{zipped.path}: ")
    assert len(str(error.value).splitlines()) == 1
    assert sorted(scratch.parent.rglob("*")) == before
    return str(error.value)


def edited(name: str, change: Callable[[Any], None]) -> Callable[[Contents], None]:
    """Changes the object in a JSON file."""

    def edit(contents: Contents) -> None:
        content = json.loads(contents[name])
        change(content)
        contents[name] = json.dumps(content).encode()

    return edit


# --- opened ----------------------------------------------------------------------------------------------


def test_a_zip_and_what_is_installed_from_it_are_the_same_model(zipped, scratch, tmp_path):
    opened = open_model(zipped.path, scratch)
    assert opened.folder.is_relative_to(scratch)
    assert (opened.folds, opened.checkpoint) == (["0", "1"], "checkpoint_final.pth")
    assert opened.label == "model"
    for name, content in zipped.read().items():
        assert (opened.folder / name).read_bytes() == content
    with ZipFile(zipped.path) as archive:
        archive.extractall(tmp_path / "results")
    installed = open_model(tmp_path / "results" / zipped.folder, scratch)
    assert installed.sha256 == opened.sha256
    assert installed.label == zipped.folder
    assert installed.folder == tmp_path / "results" / zipped.folder
    assert open_model(zipped.path, scratch).folder != opened.folder


def test_the_digest_is_that_of_what_decides_predictions(zipped, scratch):
    whole = open_model(zipped.path, scratch)
    one = open_model(zipped.path, scratch, folds=["1"])
    assert one.folds == ["1"]

    def another_card(contents: Contents) -> None:
        contents["MODEL_CARD.md"] += b"More.\n"

    def another_sampler(plans: dict[str, Any]) -> None:
        plans["configurations"]["small"]["architecture"]["arch_kwargs"]["sampler"]["ddim_steps"] = 3

    card = open_model(zipped.changed(another_card).path, scratch)
    plans = open_model(zipped.changed(edited("plans.json", another_sampler)).path, scratch)
    assert card.sha256 == whole.sha256
    assert len({whole.sha256, one.sha256, plans.sha256}) == 3


def test_a_folder_of_results_and_that_of_its_dataset(make_model, scratch):
    model = make_model()
    opened = open_model(model.folder, scratch)
    assert (opened.folder, opened.folds) == (model.folder, ["0", "1"])
    assert open_model(model.folder.parent, scratch) == opened
    shutil.copytree(model.folder, model.folder.with_name("another"))
    with pytest.raises(UserError, match="holds 2 trained models, name the folder of one: another, model"):
        open_model(model.folder.parent, scratch)
    with pytest.raises(UserError, match="there is no trained model"):
        open_model(scratch, scratch)


def test_folds_and_checkpoints_of_a_folder(make_model, scratch):
    folder = make_model().folder
    for fold, name in (
        (0, "checkpoint_best.pth"),
        (10, "checkpoint_final.pth"),
        ("all", "checkpoint_final.pth"),
    ):
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        shutil.copy(folder / "fold_0" / "checkpoint_final.pth", folder / f"fold_{fold}" / name)
    assert open_model(folder, scratch).folds == ["0", "1", "10"]
    assert open_model(folder, scratch, folds=["all", "10", "1", "1"]).folds == ["1", "10", "all"]
    assert open_model(folder, scratch, checkpoint="checkpoint_best.pth").folds == ["0"]
    with pytest.raises(UserError, match=r"fold_2/checkpoint_final\.pth: no such checkpoint"):
        open_model(folder, scratch, folds=["2"])
    for fold in (0, 1, 10):
        (folder / f"fold_{fold}" / "checkpoint_final.pth").unlink()
    assert open_model(folder, scratch).folds == ["all"]
    (folder / "fold_all" / "checkpoint_final.pth").unlink()
    with pytest.raises(
        UserError, match=r"no fold has a checkpoint_final\.pth; name another one: checkpoint_best"
    ):
        open_model(folder, scratch)
    with pytest.raises(UserError, match="train it to the end first"):
        trained_folds(scratch, "checkpoint_final.pth")


# --- names -----------------------------------------------------------------------------------------------


def special(name: str, kind: int) -> ZipInfo:
    info = ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


def ends_in_secret() -> ZipInfo:
    """Python's zipfile cuts a name off at a NUL."""
    info = ZipInfo("evil.txt")
    info.filename = "evil.txt\0.json"
    return info


OUTSIDE, UNLISTED = "outside of its folder", "which manifest.json does not list"
NAMES: dict[str, list[Any]] = {
    OUTSIDE: [
        *("../evil.txt", "Dataset501_Toy/../../evil.txt", "a\\..\\..\\evil.txt", "/evil.txt"),
        *("\\\\host\\evil.txt", "C:\\evil.txt", "C:evil.txt", ends_in_secret()),
    ],
    UNLISTED: [
        *("evil\x1b[2J.txt", "evil/", "./evil.txt", "a//evil.txt", "evil.txt", "{folder}/evil.py"),
        *("{folder}/fold_2/checkpoint_final.pth", special("fold_2", stat.S_IFDIR)),
    ],
    "manifest.json": ["other/manifest.json"],
    "more than once": ["{folder}/PLANS.json", "{folder}/plans.json"],
    "link": [special("fold_2", stat.S_IFLNK), special("MODEL_CARD.md", stat.S_IFLNK)],
    "regular file": [special("fold_2", stat.S_IFIFO)],
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "told"), [(name, told) for told, names in NAMES.items() for name in names], ids=ascii
)
def test_other_names_and_links_are_refused(zipped, scratch, name, told):
    def without_card(contents: Contents) -> None:
        if told == "link":
            contents.pop("MODEL_CARD.md")

    if isinstance(name, str):
        name = name.format(folder=zipped.folder)
    elif name.external_attr:
        name = special(f"{zipped.folder}/{name.filename}", name.external_attr >> 16)
    changed = zipped.changed(without_card, listed=told != "link", extra={name: b"/etc/passwd"})
    refused(changed, scratch, told)


# --- contents --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["plans.json", "dataset.json", "MODEL_CARD.md", "fold_1/checkpoint_final.pth"]
)
def test_a_file_that_is_missing_or_another_is_refused(zipped, scratch, name):
    def remove(contents: Contents) -> None:
        del contents[name]

    def flip(contents: Contents) -> None:
        contents[name] = contents[name][:-1] + bytes([contents[name][-1] ^ 1])

    def lengthen(contents: Contents) -> None:
        contents[name] += b" "

    refused(zipped.changed(remove, listed=False), scratch, f"{name} is missing")
    refused(zipped.changed(flip, listed=False), scratch, f"{name} is not what manifest.json states")
    refused(zipped.changed(lengthen, listed=False), scratch, f"{name} has .* bytes where manifest.json has")


def test_what_is_no_zip_is_refused_as_are_damage_and_checkpoints(zipped, scratch, tmp_path):
    content, path = zipped.path.read_bytes(), tmp_path / "other.zip"
    for junk in (b"", b"a mask", b"PK\x03\x04 and no more", b"\x1f\x8b\x08 gzip"):
        path.write_bytes(junk)
        refused(Zip(path), scratch, "not a zip")
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        # Checkpoints are zips themselves, and one may be taken for the whole.
        refused(Zip(path), scratch, "truncated")
    for at in (0.01, 0.5):
        path.write_bytes(
            content[: (n := int(at * len(content)))] + bytes([content[n] ^ 1]) + content[n + 1 :]
        )
        refused(Zip(path), scratch, "damaged")
    path.write_bytes(zipped.read()["fold_0/checkpoint_final.pth"])
    refused(Zip(path), scratch, "manifest.json")
    refused(Zip(tmp_path / "none.zip"), scratch, "no such file")


@pytest.mark.parametrize("choice", [{"folds": ["9"]}, {"folds": []}, {"checkpoint": "checkpoint_best.pth"}])
def test_what_a_zip_has_not_is_told_of_the_zip(zipped, scratch, choice):
    with pytest.raises(UserError) as error:
        open_model(zipped.path, scratch, **choice)
    assert str(error.value).startswith(f"{zipped.path}: ")
    assert str(scratch) not in str(error.value)
    assert list(scratch.iterdir()) == []


def test_a_zip_of_nnunets_own_export_is_told_how_to_use_it(make_model, scratch, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    folder = tmp_path / "results" / "Dataset501_Toy" / "nnUNetTrainerSpineSegDiff__nnUNetPlans__2d"
    shutil.copytree(make_model().folder, folder)
    (folder / "dataset_fingerprint.json").write_text("{}")
    (folder / "fold_0" / "validation").mkdir()
    for name in ("progress.png", "validation/summary.json"):
        (folder / "fold_0" / name).write_text("{}")
    out = tmp_path / "stock.zip"
    export_pretrained_model("Dataset501_Toy", str(out), ("2d",), "nnUNetTrainerSpineSegDiff", folds=(0,))
    refused(
        Zip(out), scratch, "install it with nnUNetv2_install_pretrained_model_from_zip and give the model's"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        *({"format": value} for value in (0, "1", None)),
        *({"folds": value} for value in ([], ["0", "0"], ["0"], [0, 1], ["../0", "1"])),
        *({"files": {}}, {"files": None}, {"unknown": 1}, {"checkpoint": "../x.pth"}, {"checkpoint": "x.py"}),
        *({"dataset": ".."}, {"dataset": "Dataset501_Toy\n"}, {"trainer": "a/b"}, {"plans": ""}),
        {"configuration": "..\\x"},
    ],
    ids=str,
)
def test_a_manifest_that_cannot_be_is_refused(zipped, scratch, wrong):
    refused(zipped.changed(manifest=wrong), scratch, "manifest.json cannot be read|not a name")


def test_a_manifest_that_is_no_json_or_of_a_newer_version_is_refused(zipped, scratch, tmp_path):
    for content in (b"{", b"[]", b"3", b"\xff", b"[" * 100_000):
        with ZipFile(tmp_path / "other.zip", "w") as archive:
            archive.writestr("a/b/manifest.json", content)
        refused(Zip(tmp_path / "other.zip"), scratch, "manifest.json cannot be read")
    changed = zipped.changed(manifest={"format": 17, "unheard_of": 1})
    refused(changed, scratch, "newer version .*17")


# --- zip bombs -------------------------------------------------------------------------------------------


def test_files_that_could_fill_the_disk_are_refused_before_a_byte_is_written(zipped, scratch, monkeypatch):
    monkeypatch.setattr(zips, "unpack", None)

    def inflate(contents: Contents) -> None:
        contents["MODEL_CARD.md"] = bytes(unpacking.MOST_TEXT + 1)

    refused(zipped.changed(inflate), scratch, r"MODEL_CARD\.md is packed in a way that could fill the disk")
    refused(
        zipped.changed(stored=False), scratch, r"checkpoint_final\.pth is packed in a way that could fill"
    )
    free = shutil.disk_usage(scratch)._replace(free=1000)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda path: free)
    refused(zipped.changed(), scratch, r"needs \d+ MB, but .*scratch.* has 0 MB left")


def test_a_manifest_that_could_fill_the_memory_is_refused(scratch, tmp_path):
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("a/b/manifest.json", bytes(unpacking.MOST_TEXT + 1))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    refused(Zip(tmp_path / "bomb.zip"), scratch, "manifest.json has 16 MB")


def test_files_over_each_other_are_refused(zipped, scratch, tmp_path):
    path = tmp_path / "overlapping.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("a/b/0.pth", bytes(10_000))
        for number in range(1, 5):
            info = ZipInfo(f"a/b/{number}.pth")
            first = archive.filelist[0]
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(info, name, getattr(first, name))
            archive.filelist.append(info)
    refused(Zip(path), scratch, "zip entries overlap|is not a zip, or is truncated or damaged")


def test_a_file_that_is_longer_than_its_header_says_is_refused(zipped, scratch):
    """The manifest, too, has the smaller number."""
    name = "MODEL_CARD.md"
    changed = zipped.changed()
    content = bytearray(changed.path.read_bytes())
    with ZipFile(changed.path) as archive:
        entry = archive.getinfo(f"{changed.folder}/{name}")
    at = content.rindex(entry.filename.encode()) - 46 + 24  # the size in the central directory
    content[at : at + 4] = (entry.file_size - 1).to_bytes(4, "little")
    changed.path.write_bytes(content)
    refused(changed, scratch, f"{name} has {entry.file_size - 1} bytes where")


# --- what is in the files --------------------------------------------------------------------------------


PLANNED = "configurations small architecture arch_kwargs planned"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("configurations small architecture network_class_name", "os.system", "os.system"),
        (f"{PLANNED} network_class_name", "os.system", "os.system"),
        (f"{PLANNED} arch_kwargs conv_op", "builtins.eval", "builtins.eval"),
        (f"{PLANNED} arch_kwargs nonlin", "subprocess.Popen", "subprocess.Popen"),
        ("image_reader_writer", "load_json", "image_reader_writer"),
        ("image_reader_writer", "os", "image_reader_writer"),
        ("label_manager", "torch", "label_manager"),
        ("configurations small preprocessor_name", "load_json", "preprocessor_name"),
        ("configurations small preprocessor_name", None, "preprocessor_name"),
        ("configurations small resampling_fn_data", "map_coordinates", "resampling_fn_data"),
        ("configurations small resampling_fn_seg", "../x", "resampling_fn_seg"),
        (
            "configurations small normalization_schemes",
            ["ZScoreNormalization", "ABC"],
            "normalization_schemes",
        ),
    ],
)
def test_plans_that_name_other_classes_or_functions_are_refused(zipped, scratch, path, value, told):
    def change(plans: dict[str, Any]) -> None:
        *keys, last = path.split()
        for key in keys:
            plans = plans[key]
        plans[last] = value

    line = refused(zipped.changed(edited("plans.json", change)), scratch, f"plans.json: .*{told}")
    assert str(scratch) not in line


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient", "NaturalImage2DIO"])
def test_readers_and_functions_of_nnunet_are_known(zipped, scratch, reader):
    def change(plans: dict[str, Any]) -> None:
        configuration = plans["configurations"]["small"]
        plans["image_reader_writer"] = reader
        configuration["resampling_fn_data"] = "resample_torch_fornnunet"
        configuration["normalization_schemes"] = ["CTNormalization"]

    assert open_model(zipped.changed(edited("plans.json", change)).path, scratch)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"extra": "malicious"}, "more than tensors and plain values"),
        ({"network_weights": {"a": "b"}}, "not named tensors"),
        ({"network_weights": {"a": torch.tensor([1, torch.nan])}}, "not finite"),
        ({"network_weights": 1}, "not a checkpoint"),
        ({"trainer_name": "nnUNetTrainerSpineSegDiff"}, "another trainer or configuration"),
        ({"init_args": {"configuration": "3d"}}, "another trainer or configuration"),
    ],
    ids=str,
)
def test_a_checkpoint_that_is_no_exported_one_is_refused(zipped, scratch, tmp_path, changes, told):
    trace = tmp_path / "was_executed"
    name = "fold_1/checkpoint_final.pth"

    def change(contents: Contents) -> None:
        content = torch.load(io.BytesIO(contents[name]), weights_only=True)
        more = {"extra": Malicious(trace)} if "extra" in changes else changes
        stream = io.BytesIO()
        torch.save({**content, **more}, stream)
        contents[name] = stream.getvalue()

    line = refused(zipped.changed(change), scratch, told)
    assert f"{zipped.path.with_name('changed.zip')}: {name}: " in line
    assert not trace.exists()


# --- how good it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize("refined", [0.3, 0.8])
def test_the_validation_dice_is_known_to_results_export_and_installed_model(tmp_path, scratch, refined):
    results = write_model(tmp_path / "model").folder
    for fold, change in ((0, 0.1), (1, -0.1)):
        row = {"stage1": 0.9, "refined": refined + change, "difference": 0.0}
        report = {"cases": 3, "dice": {"mean": row}, "stage1_frozen": True}
        (results / f"fold_{fold}" / "refinement.json").write_text(json.dumps(report))
    exported = export_model(results, tmp_path / "exported.zip")
    with ZipFile(exported) as archive:
        archive.extractall(tmp_path / "installed")
        (card,) = (name for name in archive.namelist() if name.endswith("MODEL_CARD.md"))
        assert ("of no use" in archive.read(card).decode()) == (refined < 0.5)
    (installed,) = (path.parent for path in (tmp_path / "installed").rglob("plans.json"))
    for path in (results, exported, installed):
        assert open_model(path, scratch).validation_dice == pytest.approx(refined)
        assert open_model(path, scratch, folds=["1"]).validation_dice == pytest.approx(refined - 0.1)


@pytest.mark.parametrize("content", ["{", "[]", '{"cases": 3}'])
def test_scores_that_cannot_be_read_do_not_matter(tmp_path, scratch, content):
    results = write_model(tmp_path / "model").folder
    (results / "fold_0" / "refinement.json").write_text(content)
    assert open_model(results, scratch).validation_dice is None
