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

from ..inference.test_untrusted import Malicious
from .conftest import Contents, Zip


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
    with pytest.raises(UserError, match=r"fold_2/checkpoint_final\.pth: there is no such checkpoint"):
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


def test_another_checkpoint_keeps_its_name_and_is_found(make_model, scratch, tmp_path):
    folder = make_model().folder
    (folder / "fold_1" / "checkpoint_final.pth").rename(folder / "fold_1" / "checkpoint_best.pth")
    zipped = Zip(export_model(folder, tmp_path / "model.zip", checkpoint="checkpoint_best.pth"))
    opened = open_model(zipped.path, scratch)
    assert (opened.folds, opened.checkpoint) == (["1"], "checkpoint_best.pth")
    assert open_model(opened.folder, scratch).checkpoint == "checkpoint_best.pth"
    assert "-chk checkpoint_best.pth" in zipped.read()["MODEL_CARD.md"].decode()
    with pytest.raises(UserError, match="no fold has a checkpoint_final"):
        open_model(zipped.path, scratch, checkpoint="checkpoint_final.pth")
    assert len(list(scratch.iterdir())) == 1


def test_a_zip_that_was_packed_again_unchanged_is_opened(zipped, scratch):
    assert open_model(zipped.changed().path, scratch).sha256 == open_model(zipped.path, scratch).sha256


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../evil.txt", "outside of its folder"),
        ("Dataset501_Toy/../../evil.txt", "outside of its folder"),
        ("a\\..\\..\\evil.txt", "outside of its folder"),
        ("/evil.txt", "outside of its folder"),
        ("\\\\host\\evil.txt", "outside of its folder"),
        ("C:\\evil.txt", "outside of its folder"),
        ("C:evil.txt", "outside of its folder"),
        ("evil\x1b[2J.txt", "which manifest.json does not list"),
        ("evil/", "which manifest.json does not list"),
        ("./evil.txt", "which manifest.json does not list"),
        ("a//evil.txt", "which manifest.json does not list"),
        ("evil.txt", "which manifest.json does not list"),
        ("{folder}/evil.py", "which manifest.json does not list"),
        ("{folder}/fold_2/checkpoint_final.pth", "which manifest.json does not list"),
        ("other/manifest.json", "no manifest.json, or several"),
        ("{folder}/PLANS.json", "more than once"),
    ],
    ids=ascii,
)
def test_other_names_are_refused(zipped, scratch, name, told):
    refused(zipped.changed(extra={name.format(folder=zipped.folder): b"evil"}), scratch, told)


def test_a_name_that_ends_in_secret_is_refused(zipped, scratch):
    """Python's zipfile cuts a name off at a NUL."""
    info = ZipInfo("evil.txt")
    info.filename = "evil.txt\0.json"
    refused(zipped.changed(extra={info: b"evil"}), scratch, "outside of its folder")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(zipped, scratch):
    name = f"{zipped.folder}/plans.json"
    refused(zipped.changed(extra={name: b"{}"}), scratch, "plans.json more than once")


@pytest.mark.parametrize(
    ("kind", "told"),
    [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "regular file"), (stat.S_IFDIR, "does not list")],
)
def test_links_and_other_things_are_refused(zipped, scratch, kind, told):
    info = ZipInfo(f"{zipped.folder}/fold_2")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refused(zipped.changed(extra={info: b"/etc"}), scratch, told)


def test_a_link_in_the_place_of_a_file_is_refused(zipped, scratch):
    name = "MODEL_CARD.md"
    info = ZipInfo(f"{zipped.folder}/{name}")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    changed = zipped.changed(lambda contents: contents.pop(name), listed=False, extra={info: b"/etc/passwd"})
    refused(changed, scratch, "a link")


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


@pytest.mark.parametrize("at", [0.01, 0.5])
def test_a_flipped_bit_in_the_zip_is_refused(zipped, scratch, at):
    content = bytearray(zipped.path.read_bytes())
    content[int(at * len(content))] ^= 1
    zipped.path.write_bytes(content)
    refused(zipped, scratch, "damaged")


@pytest.mark.parametrize("content", [b"", b"a mask", b"PK\x03\x04 and no more", b"\x1f\x8b\x08 gzip"])
def test_what_is_no_zip_is_refused(tmp_path, scratch, content):
    (tmp_path / "model.zip").write_bytes(content)
    refused(Zip(tmp_path / "model.zip"), scratch, "is not a zip, or is truncated or damaged")


def test_a_truncated_zip_a_checkpoint_and_nothing_are_refused(zipped, scratch, tmp_path):
    content = zipped.path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "short.zip").write_bytes(content[: int(share * len(content))])
        # Checkpoints are zips themselves, and one may be taken for the whole.
        refused(
            Zip(tmp_path / "short.zip"), scratch, "is not a zip, or is truncated or damaged|it is truncated"
        )
    (tmp_path / "checkpoint_final.pth").write_bytes(zipped.read()["fold_0/checkpoint_final.pth"])
    refused(Zip(tmp_path / "checkpoint_final.pth"), scratch, "has no manifest.json")
    refused(Zip(tmp_path / "none.zip"), scratch, "no such file or folder")


@pytest.mark.parametrize("choice", [{"folds": ["9"]}, {"folds": []}, {"checkpoint": "checkpoint_best.pth"}])
def test_what_a_zip_has_not_is_told_of_the_zip(zipped, scratch, choice):
    with pytest.raises(UserError) as error:
        open_model(zipped.path, scratch, **choice)
    assert str(error.value).startswith(f"{zipped.path}: ")
    assert str(scratch) not in str(error.value)
    assert list(scratch.iterdir()) == []


def test_a_disk_that_fills_up_while_unpacking_is_told(zipped, scratch, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zips, "extract", full)
    refused(zipped, scratch, r"cannot be unpacked \(No space left on device\)")


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


@pytest.mark.parametrize("number", [2, 17])
def test_a_newer_format_is_told(zipped, scratch, number):
    changed = zipped.changed(manifest={"format": number, "unheard_of": 1})
    refused(changed, scratch, rf"made by a newer version \(format {number}, this one reads 1\)")


@pytest.mark.parametrize(
    "wrong",
    [
        *[
            {"format": 0},
            {"format": "1"},
            {"format": None},
            {"unknown": 1},
            {"folds": []},
            {"folds": ["0", "0"]},
        ],
        *[{"folds": ["0"]}, {"folds": [0, 1]}, {"folds": ["../0", "1"]}, {"files": {}}, {"files": None}],
        *[{"checkpoint": "../x.pth"}, {"checkpoint": "x.py"}, {"dataset": ".."}, {"trainer": "a/b"}],
        *[{"plans": ""}, {"configuration": "..\\x"}, {"dataset": "Dataset501_Toy\n"}],
    ],
    ids=str,
)
def test_a_manifest_that_cannot_be_is_refused(zipped, scratch, wrong):
    refused(
        zipped.changed(manifest=wrong), scratch, "manifest.json cannot be read|is no name that nnU-Net gives"
    )


def test_a_manifest_that_is_no_json_is_refused(zipped, scratch, tmp_path):
    for content in (b"{", b"[]", b"3", b"\xff", b"[" * 100_000):
        with ZipFile(tmp_path / "other.zip", "w") as archive:
            archive.writestr("a/b/manifest.json", content)
        refused(Zip(tmp_path / "other.zip"), scratch, "manifest.json cannot be read")


# --- zip bombs -------------------------------------------------------------------------------------------


def test_files_that_could_fill_the_disk_are_refused_before_a_byte_is_written(zipped, scratch, monkeypatch):
    monkeypatch.setattr(zips, "extract", None)

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


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("architecture", "network_class_name"), "os.system"),
        (("architecture", "arch_kwargs", "planned", "network_class_name"), "os.system"),
        (("architecture", "arch_kwargs", "planned", "arch_kwargs", "conv_op"), "builtins.eval"),
        (("architecture", "arch_kwargs", "planned", "arch_kwargs", "nonlin"), "subprocess.Popen"),
    ],
    ids=str,
)
def test_plans_that_name_other_classes_are_refused(zipped, scratch, path, name):
    def change(plans: dict[str, Any]) -> None:
        part = plans["configurations"]["small"]
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = name

    told = refused(
        zipped.changed(edited("plans.json", change)), scratch, f"plans.json: names the class '{name}'"
    )
    assert str(scratch) not in told


@pytest.mark.parametrize(
    ("key", "name", "inside"),
    [
        ("image_reader_writer", "load_json", False),
        ("image_reader_writer", "os", False),
        ("label_manager", "torch", False),
        ("preprocessor_name", "load_json", True),
        ("resampling_fn_data", "map_coordinates", True),
        ("resampling_fn_seg", "../x", True),
        ("resampling_fn_probabilities", "deepcopy", True),
        ("normalization_schemes", ["ZScoreNormalization", "ABC"], True),
        ("preprocessor_name", None, True),
    ],
)
def test_plans_that_name_what_was_not_written_for_that_are_refused(zipped, scratch, key, name, inside):
    def change(plans: dict[str, Any]) -> None:
        (plans["configurations"]["small"] if inside else plans)[key] = name

    refused(
        zipped.changed(edited("plans.json", change)), scratch, f"plans.json: {key} is .* nothing of nnunetv2"
    )


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
        ({"network_weights": {"a": "b"}}, "no named tensors"),
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


def test_a_folder_whose_plans_name_other_classes_is_refused(make_model, scratch):
    folder = make_model().folder
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["small"]["architecture"]["network_class_name"] = "os.system"
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match=r"plans\.json: names the class 'os\.system'"):
        open_model(folder, scratch)
