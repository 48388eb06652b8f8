"""A small description, and nnU-Net's folders with a dataset that it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.experiments.plan import Plan

SMALL = """\
title: Small
configuration: 2d
folds: [0, 1]
contrasts:
  - {name: T2w, convert: t2, dataset: 0}
systems:
  - {name: Stock, trainer: nnUNetTrainerStage1_1epochs}
  - name: 'Refined, T = 30'
    trainer: nnUNetTrainerSpineSegDiff_1epochs
    predict: {refine: true, num_samples: 3}
"""


PRESEGMENTED = (
    SMALL.replace("[0, 1]", "[0, 1, 2, 3, 4]").replace("_1epochs}", "_1epochs, presegment: true}")
    + "    stage1: Stock\n"
)
"""The refiner on that stage 1, and on what it makes of the folds that it was not trained on."""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file


@pytest.fixture
def no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's three folders with dataset 501, planned, of four cases in two folds; gives their parent."""
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    raw, preprocessed = (tmp_path / part / "Dataset501_Spine" for part in ("raw", "preprocessed"))
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed / "nnUNetPlans_2d"):
        folder.mkdir(parents=True)
    for case in "abcd":
        (raw / "imagesTr" / f"{case}_0000.nii.gz").write_text(f"image of {case}")
        (raw / "labelsTr" / f"{case}.nii.gz").write_text(f"label of {case}")
    described = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "disc": 1},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(described))
    (preprocessed / "nnUNetPlans.json").write_text(
        json.dumps({"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}})
    )
    folds = [{"train": ["d"], "val": ["a", "b", "c"]}, {"train": ["a", "b", "c"], "val": ["d"]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(folds))
    return tmp_path


@pytest.fixture
def plan(small: Path, dataset: Path) -> Plan:
    return Plan(small, [501], dataset / "out", num_parts=2, device="cpu")
