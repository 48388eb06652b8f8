"""Exported models: the same logits and masks with and without our predictor, and nothing of this machine."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing.model_import import install_model_from_zip_file

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.sharing.export import export_model
from nnunetv2_spinesegdiff.sharing.opening import open_model
from nnunetv2_spinesegdiff.uncertainty.stored import kind_of

from ..helpers.model_folder import Model
from ..helpers.model_plans import image
from ..helpers.model_zips import Zip

REGIONS = {"background": 0, "spine": [1, 2, 3], "column": [2, 3], "ivd": 3}
MODELS: dict[str, dict[str, Any]] = {
    "two stages": {},
    "residual": {"residual": True, "trainer": "nnUNetTrainerSpineSegDiff_N100"},
    "regions": {"labels": REGIONS, "regions_class_order": [1, 2, 3]},
    "3d": {"axes": 3, "trainer": "nnUNetTrainerSpineSegDiff_n1"},
    "3d residual": {"axes": 3, "residual": True, "trainer": "nnUNetTrainerSpineSegDiff_T100_n1_width50"},
    "from noise": {"trainer": "nnUNetTrainerSpineSegDiffFromNoise_n2_S2"},
    "without image encoder": {"trainer": "nnUNetTrainerSpineSegDiffNoIE_n2_S1"},
    "Diff-UNet": {"trainer": "nnUNetTrainerDiffUNet_n2_S2"},
    "IISDM": {"trainer": "nnUNetTrainerIISDM_n3_S2"},
}
PREDICTORS = (SpineSegDiffPredictor, nnUNetPredictor)


def installed(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """What nnU-Net's own installing makes of a zip, in results folders of its own."""
    results = tmp_path / f"results_of_{archive.stem}"
    results.mkdir()
    monkeypatch.setenv("nnUNet_results", str(results))
    install_model_from_zip_file(str(archive))
    (folder,) = results.glob("*/*")
    return Model(folder, json.loads((folder / "dataset.json").read_text())["labels"])


def logits(model: Model, kind: type, folds: tuple[int, ...] = (0, 1)) -> torch.Tensor:
    predictor = model.predictor(kind, folds)
    patch = predictor.configuration_manager.patch_size
    return predictor.predict_logits_from_preprocessed_data(image(1, *((1,) * (3 - len(patch))), *patch))


def mask(model: Model, kind: type, scan: Path, output: Path) -> bytes:
    """Of the ensemble of both folds."""
    predictor = model.predictor(kind, (0, 1))
    predictor.predict_from_files_sequential([[str(scan)]], [str(output)])
    return Path(f"{output}.nii.gz").read_bytes()


@pytest.fixture
def scan(tmp_path) -> Path:
    """Two slices, a little larger than the patch."""
    values = np.random.default_rng(0).normal(100, 20, (2, 18, 24)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "scan_0000.nii.gz"))
    return tmp_path / "scan_0000.nii.gz"


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_masks_are_those_of_the_model_itself(name, make_model, scan, tmp_path, monkeypatch):
    model = make_model(**MODELS[name])
    expected = logits(model, nnUNetPredictor)
    expected_mask = mask(model, SpineSegDiffPredictor, scan, tmp_path / "expected")
    archive = export_model(model.folder, tmp_path / "model.zip")
    monkeypatch.delenv("nnUNet_extTrainer")
    elsewhere = installed(archive, tmp_path, monkeypatch)
    opened = Model(open_model(archive, tmp_path).folder, model.labels)
    for kind in PREDICTORS:
        assert torch.equal(logits(elsewhere, kind), expected)
        assert mask(elsewhere, kind, scan, tmp_path / kind.__name__) == expected_mask
    assert torch.equal(logits(opened, SpineSegDiffPredictor), expected)
    assert not torch.equal(logits(elsewhere, nnUNetPredictor, (1,)), expected)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "expected.nii.gz"))).any()


# --- what is in the zip ----------------------------------------------------------------------------------


def test_files_names_and_manifest(zipped, tmp_path):
    assert zipped.folder == "Dataset501_Toy/nnUNetTrainerSpineSegDiff__smallPlans__small"
    checkpoints = [f"fold_{fold}/checkpoint_final.pth" for fold in (0, 1)]
    expected = ["MODEL_CARD.md", "dataset.json", *checkpoints, "manifest.json", "plans.json"]
    assert sorted(zipped.read()) == expected
    with ZipFile(zipped.path) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert (entry.compress_type == ZIP_STORED) is entry.filename.endswith(".pth")
    assert [path.name for path in tmp_path.glob("*.zip*")] == ["model.zip"]
    manifest = zipped.json("manifest.json")
    assert manifest["format"] == 1  # older versions open it
    assert manifest["folds"] == ["0", "1"]
    assert manifest["configuration"] == "small"
    assert manifest["network_class"] == "nnunetv2_spinesegdiff.network.from_plans.PlannedTwoStageNetwork"
    assert {"nnunetv2_spinesegdiff", "nnunetv2", "torch"} <= set(manifest["versions"])
    assert set(manifest["files"]) == {*expected} - {"manifest.json"}


def test_checkpoints_hold_weights_and_plain_values_only(make_model, tmp_path):
    model = make_model()
    path = model.folder / "fold_0" / "checkpoint_final.pth"
    trained = torch.load(path, weights_only=True)
    more = {"optimizer_state": {0: torch.zeros(100_000)}, "logging": {}, "current_epoch": 7}
    torch.save({**trained, **more}, path)
    zipped = Zip(export_model(model.folder, tmp_path / "model.zip", folds=["0"]))
    (tmp_path / "out.pth").write_bytes(zipped.read()["fold_0/checkpoint_final.pth"])
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    weights = content.pop("network_weights")
    assert content == {
        "init_args": {"configuration": "small"},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (1,),
    }
    assert type(weights) is dict
    assert all(torch.equal(weights[name], values) for name, values in trained["network_weights"].items())
    assert (tmp_path / "out.pth").stat().st_size < path.stat().st_size - 390_000
    assert zipped.json("manifest.json")["training"]["0"]["epochs"] == 7


def test_only_the_exported_configuration_is_in_the_plans(make_model, tmp_path):
    model = make_model()
    plans = json.loads((model.folder / "plans.json").read_text())
    configurations = plans["configurations"]
    configurations["base"] = configurations.pop("small")
    configurations["small"] = {"inherits_from": "base", "batch_size": 5}
    (model.folder / "plans.json").write_text(json.dumps(plans))
    zipped = Zip(export_model(model.folder, tmp_path / "model.zip"))
    exported = zipped.json("plans.json")["configurations"]
    assert set(exported) == {"small"}
    assert exported["small"]["batch_size"] == 5
    assert "inherits_from" not in exported["small"]
    opened = open_model(zipped.path, tmp_path)
    for fold in ((0,), (1,)):
        assert torch.equal(
            logits(Model(opened.folder, {}), SpineSegDiffPredictor, fold),
            logits(model, SpineSegDiffPredictor, fold),
        )
    assert torch.equal(
        logits(Model(opened.folder, {}), SpineSegDiffPredictor), logits(model, SpineSegDiffPredictor)
    )


@pytest.mark.parametrize("trainer", ["nnUNetTrainerSpineSegDiff_T50", "nnUNetTrainerDiffUNet_n2_S2"])
def test_a_calibration_fits_after_the_export_too(make_model, tmp_path, monkeypatch, trainer):
    model = make_model(trainer=trainer)
    before = model.predictor(SpineSegDiffPredictor)
    areas = {name: {"quantile": 0.5} for name in ("spinal_canal", "vertebrae", "ivd")}
    calibration = {
        "kind": kind_of(before.record),
        "temperatures": [1, 2, 3, 4],
        "areas": areas,
        "cases": 9,
        "folds": [0, 1],
    }
    plans = json.loads((model.folder / "plans.json").read_text())
    plans["spinesegdiff"] = {"sampler": vars(before.network.sampler), "calibrations": [calibration]}
    (model.folder / "plans.json").write_text(json.dumps(plans))
    exported = installed(export_model(model.folder, tmp_path / "model.zip"), tmp_path, monkeypatch)
    monkeypatch.delenv("nnUNet_extTrainer")
    after = exported.predictor(SpineSegDiffPredictor)
    assert after.calibration is not None
    assert after.calibration.temperatures == [1, 2, 3, 4]
    assert after.record["trainer"] == trainer
    assert "on 9 validation cases of folds 0, 1" in (exported.folder / "MODEL_CARD.md").read_text()
    other = exported.predictor(SpineSegDiffPredictor, settings=PredictionSettings(changes={"ddim_steps": 1}))
    assert other.calibration is None


# --- half precision --------------------------------------------------------------------------------------


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["network_weights"]


@pytest.mark.parametrize("name", ["two stages", "residual", "Diff-UNet"])
def test_half_weights_are_loaded_and_used_in_float32(name, make_model, tmp_path, monkeypatch):
    model = make_model(**MODELS[name])
    exact = logits(model, nnUNetPredictor)
    archive = export_model(model.folder, tmp_path / "half.zip", half=True)
    for fold in (0, 1):
        path = model.folder / f"fold_{fold}" / "checkpoint_final.pth"
        checkpoint = torch.load(path, weights_only=True)
        rounded = {
            name: weights.half().float() if weights.is_floating_point() else weights
            for name, weights in checkpoint["network_weights"].items()
        }
        torch.save({**checkpoint, "network_weights": rounded}, path)
    expected = logits(model, nnUNetPredictor)
    assert not torch.equal(expected, exact)
    elsewhere = installed(archive, tmp_path, monkeypatch)
    exported = Zip(archive)
    dtypes = [known.get("dtype") for known in exported.json("manifest.json")["files"].values()]
    assert dtypes.count("float16") == 2
    assert "stored as float16" in exported.read()["MODEL_CARD.md"].decode()
    for half in (False, True):  # they stay so in another export
        again = export_model(elsewhere.folder, tmp_path / "again.zip", half=half)
        assert again.read_bytes() == archive.read_bytes()
    stored = weights_of(elsewhere.folder / "fold_1" / "checkpoint_final.pth")
    assert {weights.dtype for weights in stored.values()} == {torch.float16, torch.bool}
    for kind in PREDICTORS:
        assert torch.equal(logits(elsewhere, kind), expected)
        network = elsewhere.predictor(kind).network
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(("value", "fits"), [(-65504, True), (65519, True), (65520, False), (-1e6, False)])
def test_weights_beyond_half_precision_are_refused(value, fits, make_model, tmp_path):
    model = make_model()
    path = model.folder / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    name = list(checkpoint["network_weights"])[-1]
    checkpoint["network_weights"][name].view(-1)[-1] = value
    torch.save(checkpoint, path)
    if fits:
        assert export_model(model.folder, tmp_path / "model.zip", half=True).is_file()
        return
    with pytest.raises(UserError) as refused:
        export_model(model.folder, tmp_path / "model.zip", half=True)
    assert str(refused.value).startswith(f"{path}: {name} ")
    assert not list(tmp_path.glob("*.zip"))
    assert export_model(model.folder, tmp_path / "model.zip").is_file()


# --- the same model, the same bytes ----------------------------------------------------------------------


def test_the_same_model_gives_the_same_bytes_installed_too(make_model, tmp_path, monkeypatch):
    model = make_model()
    refinement = {
        "epoch": 5,
        "cases": 4,
        "dice": {"mean": {"stage1": 0.5, "refined": 0.75, "difference": 0.25}},
    }
    (model.folder / "fold_0" / "refinement.json").write_text(json.dumps(refinement))
    details = {"license": "CC BY 4.0", "authors": "A. Author"}
    first = export_model(model.folder, tmp_path / "first.zip", details=details)
    second = export_model(model.folder, tmp_path / "second.zip", details=details)
    assert first.read_bytes() == second.read_bytes()
    monkeypatch.delenv("nnUNet_extTrainer")
    elsewhere = installed(first, tmp_path, monkeypatch)
    again = export_model(elsewhere.folder, tmp_path / "again.zip")
    assert first.read_bytes() == again.read_bytes()
    assert "A. Author" in (elsewhere.folder / "MODEL_CARD.md").read_text()
    details = {"contact": "someone@example.org"}
    other = Zip(export_model(elsewhere.folder, tmp_path / "other.zip", folds=["1"], details=details))
    assert "Contact: someone@example.org" in other.read()["MODEL_CARD.md"].decode()
    assert other.json("manifest.json")["folds"] == ["1"]


# --- nothing of this machine -----------------------------------------------------------------------------


def test_no_path_user_or_host_is_in_any_byte(make_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(platform, "node", lambda: "spinebox.lab.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "janedoe")
    model = make_model(
        name="Dataset501_Toy",
        description="put together by janedoe",
        reference="https://doi.org/10.5281/zenodo.10159290",
        release="made on spinebox, /mnt/data/spider/images",
        dataset={"SPIDER_7_secret": {"images": ["/mnt/data/x.mha"], "label": "/mnt/data/y.mha"}},
        training=[{"image": "./imagesTr/SPIDER_7_secret.nii.gz"}],
        folders=["/scratch/janedoe/a", "b"],
    )
    plans = json.loads((model.folder / "plans.json").read_text())
    plans["made_in"] = {"folder": str(tmp_path), "day": "a Monday", "/home/janedoe/plans": 1}
    (model.folder / "plans.json").write_text(json.dumps(plans))
    fold = model.folder / "fold_0"
    (fold / "debug.json").write_text(json.dumps({"output_folder": str(fold), "hostname": "spinebox"}))
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=True)
    checkpoint["init_args"]["plans"] = plans
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    zipped = Zip(export_model(model.folder, tmp_path / "model.zip"))

    everything = [zipped.path.read_bytes(), *zipped.read().values()]
    for secret in (str(tmp_path), "janedoe", "spinebox", "/mnt", "/home", "/scratch", "SPIDER_7"):
        assert not any(secret.encode() in content for content in everything), secret
    assert zipped.json("dataset.json")["reference"] == "https://doi.org/10.5281/zenodo.10159290"
    assert zipped.json("plans.json")["made_in"] == {"day": "a Monday"}
    left_out = [
        *("plans.json: made_in.folder", "plans.json: made_in.(a key)", "dataset.json: description"),
        *(f"dataset.json: {key}" for key in ("release", "folders", "dataset", "training")),
    ]
    assert zipped.json("manifest.json")["left_out"] == left_out
    assert capsys.readouterr().out.splitlines()[-7:] == [f"Left out: {name}" for name in left_out]


@pytest.mark.parametrize(
    "more", [{"channel_names": {"0": "janedoe"}}, {"labels": {"background": 0, "/data/a": 1, "b": 2, "c": 3}}]
)
def test_what_prediction_needs_is_refused_where_it_names_this_machine(
    make_model, tmp_path, monkeypatch, more
):
    monkeypatch.setattr(getpass, "getuser", lambda: "janedoe")
    model = make_model()
    dataset = {**json.loads((model.folder / "dataset.json").read_text()), **more}
    (model.folder / "dataset.json").write_text(json.dumps(dataset))
    with pytest.raises(UserError, match=r"dataset\.json: (channel_names|labels)\..* names a folder, user"):
        export_model(model.folder, tmp_path / "model.zip")
    assert not list(tmp_path.glob("*.zip"))


# --- refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", ["nnUNetTrainer", "nnUNetTrainerStage1"])
def test_a_stock_training_is_refused(make_model, tmp_path, trainer):
    model = make_model()
    for fold in (0, 1):
        path = model.folder / f"fold_{fold}" / "checkpoint_final.pth"
        torch.save({**torch.load(path, weights_only=True), "trainer_name": trainer}, path)
    with pytest.raises(UserError, match=rf"trained with {trainer}, which trains no diffusion network"):
        export_model(model.folder, tmp_path / "model.zip")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"trainer_name": "nnUNetTrainerSpineSegDiff_T50"},
            "trainer nnUNetTrainerSpineSegDiff_T50, the first",
        ),
        ({"init_args": {"configuration": "2d"}}, "configuration 2d, the first fold of small"),
        ({"network_weights": {"a": torch.zeros(1)}}, "not of the network"),
        ({"network_weights": {"a": 1}}, "not named tensors"),
        ({"network_weights": {"a": torch.tensor([1, torch.nan])}}, "not finite"),
        ({"network_weights": None}, "not a checkpoint"),
    ],
    ids=["trainer", "configuration", "network", "no tensors", "not finite", "nothing"],
)
def test_a_fold_that_does_not_fit_is_refused_and_nothing_is_left(make_model, tmp_path, changes, told):
    model = make_model()
    path = model.folder / "fold_1" / "checkpoint_final.pth"
    torch.save({**torch.load(path, weights_only=True), **changes}, path)
    with pytest.raises(UserError, match=told) as refused:
        export_model(model.folder, tmp_path / "model.zip")
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value).splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir() if "zip" in p.name] == []
    assert export_model(model.folder, tmp_path / "model.zip", folds=["0"]).is_file()
