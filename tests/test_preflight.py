"""What is asked before nnU-Net starts: every mistake is one line that says what to do."""

from __future__ import annotations

import json

import pytest

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.environment import external_trainers
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference import command
from nnunetv2_spinesegdiff.preflight import (
    check_before_prediction,
    check_device,
    check_planned,
    check_trainer,
)

DATASET = "Dataset501_SPIDER"
PREDICT = ["-i", "in", "-o", "out", "-d", "501", "-device", "cpu"]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """nnU-Net's folders with one dataset that is planned but not preprocessed."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / variable / DATASET).mkdir(parents=True)
        monkeypatch.setenv(variable, str(tmp_path / variable))
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
    (tmp_path / "nnUNet_preprocessed" / DATASET / "nnUNetPlans.json").write_text(json.dumps(plans))
    return tmp_path


@pytest.mark.parametrize(
    ("dataset", "configuration", "plans", "says"),
    [
        ("999", "2d", "nnUNetPlans", "dataset 999: not found"),
        ("501", "2d", "otherPlans", r"otherPlans\.json: there is no such file; run `nnUNetv2_plan_and"),
        ("501", "3d_fullres", "nnUNetPlans", "has no configuration 3d_fullres, only 2d"),
        ("501", "2d", "nnUNetPlans", "nnUNetPlans_2d: there is no such folder; run `nnUNetv2_plan_and"),
    ],
)
def test_what_is_not_planned_is_refused(folders, dataset, configuration, plans, says):
    with pytest.raises(UserError, match=says):
        check_planned(dataset, configuration, plans)


def test_what_is_preprocessed_may_be_trained(folders):
    (folders / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_2d").mkdir()
    for dataset in ("501", DATASET):
        check_planned(dataset, "2d", "nnUNetPlans")


def test_a_trainer_that_nobody_knows_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_extTrainer", external_trainers())
    check_trainer("nnUNetTrainer")
    check_trainer("nnUNetTrainerSpineSegDiff_5epochs")
    with pytest.raises(UserError, match="trainer nnUNetTrainerFoo: not found"):
        check_trainer("nnUNetTrainerFoo")
    with pytest.raises(UserError, match="unknown suffix"):
        check_trainer("nnUNetTrainerSpineSegDiff_5foo")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("fold", ["-1", "x", "1.5"])
def test_a_fold_is_a_number_or_all(fold, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "-d", "501", "-f", fold])
    assert end.value.code == 2


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="`-device cpu`"):
        check_device("cuda")
    check_device("cpu")


def test_prediction_of_an_unknown_dataset_is_refused(folders):
    check_before_prediction(PREDICT)
    with pytest.raises(UserError, match="dataset 999: not found"):
        check_before_prediction([*PREDICT, "-d", "999"])


def test_prediction_without_a_device_is_on_cuda_as_nnunet_has_it(folders, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        check_before_prediction(PREDICT[:-2])


@pytest.mark.parametrize("flag", ["--refine", "--no_refine"])
def test_the_command_asks_first(folders, flag):
    with pytest.raises(UserError, match="dataset 999: not found"):
        command.predict([*PREDICT, "-d", "999", flag])
