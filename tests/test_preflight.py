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
    ("dataset", "configuration", "plans", "words"),
    [
        ("999", "2d", "nnUNetPlans", "^dataset 999: "),
        ("501", "2d", "otherPlans", r"otherPlans\.json: .*nnUNetv2_plan_and"),
        ("501", "3d_fullres", "nnUNetPlans", "3d_fullres, only 2d"),
        ("501", "2d", "nnUNetPlans", "nnUNetPlans_2d: .*nnUNetv2_plan_and"),
    ],
)
def test_datasets_without_plans_or_preprocessing_are_rejected(folders, dataset, configuration, plans, words):
    with pytest.raises(UserError, match=words):
        check_planned(dataset, configuration, plans)
    (folders / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_2d").mkdir()
    for known in ("501", DATASET):
        check_planned(known, "2d", "nnUNetPlans")


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


def test_a_missing_device_is_rejected(folders, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="-device cpu"):
        check_device("cuda")
    check_device("cpu")
    with pytest.raises(UserError, match="CUDA"):
        check_before_prediction(PREDICT[:-2])


def test_prediction_of_an_unknown_dataset_is_rejected(folders):
    check_before_prediction(PREDICT)
    unknown = [*PREDICT, "-d", "999"]
    with pytest.raises(UserError, match=r"^dataset 999: "):
        check_before_prediction(unknown)
    for flag in ("--refine", "--no_refine"):
        with pytest.raises(UserError, match=r"^dataset 999: "):
            command.predict([*unknown, flag])
