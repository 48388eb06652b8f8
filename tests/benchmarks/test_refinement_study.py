"""The study of refinement on phantoms: it finds a refiner that is told the true borders, and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml
from scipy import ndimage

STUDY = Path(__file__).resolve().parents[2] / "benchmarks" / "refinement"
DATASET = "Dataset611_Planted"
PLANS = "nnUNetPlansQuarter"
PATIENTS = 8
TRAINERS = """
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2_spinesegdiff.network.two_stage import TwoStageNetwork
from nnunetv2_spinesegdiff.training.sagittal import (
    nnUNetTrainerSpineSegDiffSagittal, nnUNetTrainerStage1Sagittal,
)
from nnunetv2_spinesegdiff.training.trainers import with_suffixes


def without_borders(image):
    return torch.cat([image[:, :1], torch.zeros_like(image[:, 1:])], 1)


class Blind(PlainConvUNet):
    def forward(self, image):
        return super().forward(without_borders(image))


class nnUNetTrainerBlind(nnUNetTrainerStage1Sagittal):
    @staticmethod
    def build_network_architecture(
        plans, configuration, num_input_channels, num_output_channels, enable_deep_supervision=True
    ):
        network = nnUNetTrainerStage1Sagittal.build_network_architecture(
            plans, configuration, num_input_channels, num_output_channels, enable_deep_supervision
        )
        network.__class__ = Blind
        return network


class Told(TwoStageNetwork):
    def presegment(self, image):
        return super().presegment(without_borders(image))


class Copying(Told):
    def _predicted(self, image):
        return self.presegment(image)


class nnUNetTrainerTold(nnUNetTrainerSpineSegDiffSagittal):
    network_class = Told


class nnUNetTrainerCopying(nnUNetTrainerSpineSegDiffSagittal):
    network_class = Copying


BASES = {cls.__name__: cls for cls in (nnUNetTrainerBlind, nnUNetTrainerTold, nnUNetTrainerCopying)}


def __getattr__(name):
    return with_suffixes(name, BASES, __name__)
"""


@pytest.mark.slow
def test_a_planted_gain_is_found_and_a_copy_gains_nothing(tmp_path):
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        **{f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")},
        **{"OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1", "nnUNet_extTrainer": str(tmp_path / "trainers")},
    }

    def run(*words: str) -> None:
        done = subprocess.run(
            words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "planted_trainers.py").write_text(TRAINERS)
    run("spinesegdiff", "phantom", "-o", "cohort", "--patients", str(PATIENTS), "-np", "2")
    run("spinesegdiff", "convert", "-i", "cohort", "-d", "611", "--name", "Planted", "--t2_source", "both")
    _add_borders(tmp_path / "raw" / DATASET)
    coarsely = ("-overwrite_target_spacing", "4", "4", "4")
    run("nnUNetv2_plan_and_preprocess", "-d", "611", "-c", "2d", "-np", "1", "-npfp", "1", *coarsely)
    _plan(tmp_path / "preprocessed" / DATASET)
    arms = {
        "stage 1": {"trainer": "nnUNetTrainerBlind", "iterations": 120},
        "stage 1 for the whole cost": {
            "trainer": "nnUNetTrainerBlind",
            "iterations": 80,
            "after": "stage 1",
        },
        "told": {"trainer": "nnUNetTrainerTold", "iterations": 160, "stage1": "stage 1"},
        "copying": {"trainer": "nnUNetTrainerCopying", "iterations": 10, "stage1": "stage 1"},
    }
    study = {"dataset": DATASET, "plans": PLANS, "folds": 2, "seeds": 1, "iterations_per_epoch": 10}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "arms": arms}, sort_keys=False))
    run(sys.executable, str(STUDY / "run.py"), "study.yaml", "--jobs", "2")
    run(sys.executable, str(STUDY / "score.py"), "study.yaml", "-o", "scores")
    scores = pd.read_csv(tmp_path / "scores" / "scores.csv")
    patients = scores.groupby(["system", "patient"])["dice mean"].mean().unstack(0)
    assert len(patients) == PATIENTS
    assert (patients["copying"] == patients["stage 1"]).all()
    rows = _differences(tmp_path / "scores" / "study.md")
    for control in ("stage 1", "stage 1 for the whole cost"):
        low, _ = rows["told", control]
        assert low > 0, rows
    low, high = rows["copying", "stage 1"]
    assert low == high == 0
    # What is finished is not trained again.
    before = (tmp_path / "results").rglob("checkpoint_final.pth")
    times = {path: path.stat().st_mtime for path in before}
    run(sys.executable, str(STUDY / "run.py"), "study.yaml", "--jobs", "2")
    assert times == {path: path.stat().st_mtime for path in times}


def _add_borders(raw: Path) -> None:
    """A second channel that holds the label of every pixel near a border."""
    for path in sorted((raw / "labelsTr").glob("*.nii.gz")):
        label = sitk.ReadImage(str(path))
        values = sitk.GetArrayFromImage(label).astype(np.float32)
        size = (1, 7, 7)
        near = ndimage.maximum_filter(values, size) != ndimage.minimum_filter(values, size)
        borders = sitk.GetImageFromArray(np.where(near, values * 50, 0).astype(np.float32))
        borders.CopyInformation(label)
        name = path.name.removesuffix(".nii.gz")
        sitk.WriteImage(borders, str(raw / "imagesTr" / f"{name}_0001.nii.gz"))
    description = json.loads((raw / "dataset.json").read_text())
    description["channel_names"]["1"] = "borders"
    (raw / "dataset.json").write_text(json.dumps(description))


def _plan(preprocessed: Path) -> None:
    """Small plans, and two folds by patient."""
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    plan = plans["configurations"]["2d"]
    kwargs = plan["architecture"]["arch_kwargs"]
    kwargs["features_per_stage"] = [max(4, features // 4) for features in kwargs["features_per_stage"]]
    plan["batch_size"] = 4
    (preprocessed / f"{PLANS}.json").write_text(json.dumps({**plans, "plans_name": PLANS}))
    cases = sorted(
        path.name.removesuffix(".nii.gz") for path in (preprocessed / "gt_segmentations").iterdir()
    )
    patients = sorted({case.split("_")[1] for case in cases})
    held_out = [set(patients[fold::2]) for fold in range(2)]
    splits = [
        {
            "train": [case for case in cases if case.split("_")[1] not in patients],
            "val": [case for case in cases if case.split("_")[1] in patients],
        }
        for patients in held_out
    ]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))


def _differences(path: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Interval of the difference by system and control."""
    found = {}
    system = ""
    for line in path.read_text().splitlines():
        if line.startswith("## "):
            system = line.removeprefix("## ").partition(":")[0]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| T2w") and len(cells) == 6:
            low, high = cells[3].partition("(")[2].strip(")").split(" to ")
            found[system, cells[2]] = (float(low), float(high))
    return found
