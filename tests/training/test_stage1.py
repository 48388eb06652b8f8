"""Which checkpoint is frozen as stage 1, and every reason to refuse one."""

from __future__ import annotations

import copy
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.training.stage1 import find_stage1_checkpoint, load_stage1_weights

from ..helpers.model_folder import Malicious
from ..helpers.model_plans import LABELS, small_plans

PLANS = PlansManager(small_plans())
DATASET_JSON = {"labels": LABELS}
SMALL = ("plans", "configurations", "small")


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.delenv("spinesegdiff_stage1", raising=False)
    return tmp_path / "results"


def finished(
    results: Path, trainer: str = "nnUNetTrainer", configuration: str = "small", fold: int = 0
) -> Path:
    """A file where nnU-Net puts the checkpoint of a finished training."""
    folder = results / PLANS.dataset_name / f"{trainer}__{PLANS.plans_name}__{configuration}" / f"fold_{fold}"
    folder.mkdir(parents=True)
    (folder / "checkpoint_final.pth").write_bytes(b"")
    return folder / "checkpoint_final.pth"


def find(fold: int | str = 0) -> Path | None:
    return find_stage1_checkpoint(PLANS, "small", fold)


# --- finding ---------------------------------------------------------------------------------------------


def test_the_finished_stock_training_is_found(results, monkeypatch):
    finished(results, configuration="2d")
    finished(results, "nnUNetTrainerStage1_5epochs")
    assert find() is None
    ours = finished(results, "nnUNetTrainerStage1")
    assert find() == ours
    stock = finished(results)
    assert find() == stock
    assert find(1) is None
    assert find("all") is None
    stock.rename(stock.with_name("checkpoint_best.pth"))
    assert find() == ours
    monkeypatch.setenv("spinesegdiff_stage1", "joint")
    assert find() is None


def test_a_trainer_name_a_file_and_a_folder_can_be_named(results, monkeypatch, tmp_path):
    finished(results)
    wanted = finished(results, "nnUNetTrainerStage1_5epochs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nnUNetTrainerStage1_5epochs").mkdir()  # a trainer's name does not mean this folder
    for name in ("nnUNetTrainerStage1_5epochs", str(wanted), str(wanted.parent)):
        monkeypatch.setenv("spinesegdiff_stage1", name)
        assert find() == wanted


@pytest.mark.parametrize("named", ["nnUNetTrainerNever", "/nowhere/checkpoint_final.pth", "{results}"])
def test_a_name_without_a_checkpoint_is_refused(results, monkeypatch, named):
    results.mkdir()
    named = named.format(results=results)
    monkeypatch.setenv("spinesegdiff_stage1", named)
    with pytest.raises(UserError, match="no such checkpoint") as refused:
        find()
    assert f"spinesegdiff_stage1={named}" in str(refused.value)


# --- loading ---------------------------------------------------------------------------------------------


def checkpoint(**changes) -> dict:
    """What nnU-Net writes, as far as it matters, numpy numbers of its log included."""
    return {
        "network_weights": {"encoder.weight": torch.arange(4.0)},
        "optimizer_state": {"state": {}, "param_groups": []},
        "logging": {"train_losses": [np.float32(0.5), np.float64(0.25)], "dice": [np.array([0.5])[0]]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 5,
        "init_args": {
            "plans": small_plans(),
            "configuration": "small",
            "fold": 0,
            "dataset_json": DATASET_JSON,
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
        **changes,
    }


def saved(tmp_path: Path, content: object) -> Path:
    torch.save(content, tmp_path / "checkpoint_final.pth")
    return tmp_path / "checkpoint_final.pth"


def load(file: Path) -> dict[str, torch.Tensor]:
    return load_stage1_weights(file, PLANS, "small", 0, DATASET_JSON)


def test_the_weights_of_a_fitting_checkpoint_are_loaded(tmp_path):
    weights = load(saved(tmp_path, checkpoint()))
    assert set(weights) == {"encoder.weight"}
    assert torch.equal(weights["encoder.weight"], torch.arange(4.0))


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_checkpoints_of_older_and_newer_numpy_are_read(tmp_path, core):
    """numpy 2 renamed the module by which a pickled number is made again."""
    file = saved(tmp_path, checkpoint())
    renamed = tmp_path / "renamed.pth"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(renamed, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = re.sub(rb"numpy\._?core\.multiarray", core, content)
                assert core in content
            target.writestr(entry, content)
    assert set(load(renamed)) == {"encoder.weight"}


def other_arguments(*path: str, value: object) -> dict:
    """A checkpoint in which one of the arguments of the training differs."""
    content = copy.deepcopy(checkpoint())
    where = content["init_args"]
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return content


def test_plans_are_compared_by_value(tmp_path):
    """Lists here, tuples and numpy numbers there."""
    spelled = other_arguments(*SMALL, "spacing", value=(np.float64(1.0), np.float64(1.0)))
    assert load(saved(tmp_path, spelled))


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (("plans", "dataset_name"), "Dataset502_Other", "dataset Dataset502_Other.*dataset Dataset501_Toy"),
        (("plans", "plans_name"), "otherPlans", "plans otherPlans.*plans smallPlans"),
        (("configuration",), "3d_fullres", "configuration 3d_fullres.*configuration small"),
        (("fold",), 1, "fold 1.*fold 0"),
        (("fold",), "all", "fold all.*fold 0"),
        (("dataset_json", "labels"), {"background": 0, "tumour": 1}, "labels .*tumour.*labels .*vertebrae"),
        ((*SMALL, "spacing"), [4.0, 1.0], r"spacing \[4.0, 1.0\].*spacing \[1.0, 1.0\]"),
        ((*SMALL, "normalization_schemes"), ["NoNormalization"], "NoNorm.*normalization_schemes .*ZScore"),
        ((*SMALL, "use_mask_for_norm"), [True], r"\[True\].*use_mask_for_norm \[False\]"),
        (("plans", "transpose_forward"), [1, 0], r"transpose_forward \[1, 0\]"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_with_the_difference(tmp_path, path, value, what):
    file = saved(tmp_path, other_arguments(*path, value=value))
    with pytest.raises(UserError, match=rf"rejected as stage 1.*{what}") as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert len(str(refused.value).splitlines()) == 1


def test_a_two_stage_training_is_refused(tmp_path):
    weights = {"stage1.encoder.weight": torch.zeros(1), "denoiser.unet.weight": torch.zeros(1)}
    file = saved(tmp_path, checkpoint(network_weights=weights, trainer_name="nnUNetTrainerSpineSegDiff_T100"))
    with pytest.raises(UserError, match="nnUNetTrainerSpineSegDiff_T100"):
        load(file)


NOT_CHECKPOINTS: list[Any] = [
    {"state_dict": {}},
    [1, 2],
    torch.zeros(3),
    None,
    checkpoint(network_weights=None),
    checkpoint(init_args=None),
    checkpoint(init_args={"plans": {}}),
]
DAMAGED = [b"", b"garbage", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."]


@pytest.mark.parametrize(
    "content", [*NOT_CHECKPOINTS, *DAMAGED, "cut off", "missing"], ids=lambda c: type(c).__name__
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    file = tmp_path / "checkpoint_final.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif not isinstance(content, str) or content != "missing":
        torch.save(checkpoint() if content == "cut off" else content, file)
    if content == "cut off":
        file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError) as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert len(str(refused.value).splitlines()) == 1


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    trace = tmp_path / "was_executed"
    file = saved(tmp_path, checkpoint(extra=Malicious(trace)))
    torch.load(file, weights_only=False)
    assert trace.exists()
    trace.unlink()
    with pytest.raises(UserError, match="cannot be read as a checkpoint") as refused:
        load(file)
    assert not trace.exists()
    assert "weights_only" not in str(refused.value)  # torch's message recommends to execute it
