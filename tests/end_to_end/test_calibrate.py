"""`spinesegdiff calibrate`, and what predictions make of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.uncertainty.temperature import temperature_scaled

from .conftest import DATASET, TRAINER, Workspace

WORDS = f"-d {DATASET} -tr {TRAINER} -device cpu -np 1"


@pytest.fixture(scope="module")
def calibrated(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the trained workspace: what is stored with its model must not reach other tests."""
    root = tmp_path_factory.mktemp("calibrated") / "all"
    shutil.copytree(trained.root, root)
    workspace = Workspace(root)
    workspace.run(f"spinesegdiff calibrate {WORDS}")
    return workspace


def predicted(workspace: Workspace, images: Path, flags: str) -> tuple[Path, str]:
    output = workspace.root / f"out_{abs(hash(flags))}"
    return output, workspace.predict(images, output, flags)


def test_it_stores_with_the_model_and_draws(calibrated: Workspace):
    stored = json.loads((calibrated.results() / "plans.json").read_text())["spinesegdiff"]
    assert stored["sampler"]["t_start"] == 30
    (calibration,) = stored["calibrations"]
    splits = json.loads((calibrated.preprocessed / "splits_final.json").read_text())
    assert calibration["cases"] == len(splits[0]["val"])
    assert len(calibration["temperatures"]) == 4
    assert (calibrated.results() / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_of_the_same_kind_are_calibrated_and_keep_their_masks(
    calibrated: Workspace, trained: Workspace, two_cases: Path
):
    flags = "--refine --save_probabilities --save_uncertainty"
    after, told = predicted(calibrated, two_cases, flags)
    before, _ = predicted(trained, two_cases, flags)
    assert "calibrated for other settings" not in told
    stored = json.loads((calibrated.results() / "plans.json").read_text())["spinesegdiff"]
    temperatures = np.array(stored["calibrations"][0]["temperatures"])
    masks = sorted(before.glob("*.nii.gz"))
    assert len(masks) == 2
    for path in masks:
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).any()
        assert path.read_bytes() == (after / path.name).read_bytes()
        name = path.name.replace(".nii.gz", ".npz")
        plain, scaled = (np.load(folder / name)["probabilities"] for folder in (before, after))
        assert np.allclose(scaled, temperature_scaled(plain, temperatures, False), atol=1e-5)
        assert not np.allclose(scaled, plain, atol=1e-3)
        maps = [
            folder / "uncertainty" / path.name.replace(".nii", "_uncertainty.nii")
            for folder in (before, after)
        ]
        first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(m))) for m in maps)
        assert not np.allclose(first, second, atol=1e-3)


def test_predictions_of_another_kind_are_not(calibrated: Workspace, two_cases: Path):
    _, told = predicted(calibrated, two_cases, "--no_refine --save_probabilities")
    assert "calibrated for other settings" in told


def test_a_dataset_or_model_that_is_not_there_is_one_line(calibrated: Workspace):
    told = calibrated.run("spinesegdiff calibrate -d 999 -device cpu", fails=True)
    assert told.splitlines()[-1].startswith("error: dataset 999: not found")
    told = calibrated.run(f"spinesegdiff calibrate -d {DATASET} -device cpu", fails=True)
    assert "no trained fold with checkpoint_final.pth" in told.splitlines()[-1]
    told = calibrated.run(f"spinesegdiff calibrate {WORDS} --t_start 31", fails=True)
    assert told.splitlines()[-1].startswith("error: --t_start 31 is deeper than 30")
