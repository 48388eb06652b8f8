"""`spinesegdiff calibrate`, and what predictions make of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ..helpers.model_commands import DATASET, TRAINER, Workspace, masks_of


@pytest.fixture(scope="module")
def calibrated(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With a copy of the trained model: what is stored with it must not reach other tests."""
    workspace = Workspace(tmp_path_factory.mktemp("calibrated"))
    for name in ("raw", "preprocessed"):
        (workspace.root / name).symlink_to(trained.root / name)
    shutil.copytree(trained.results(), workspace.results())
    workspace.run(f"spinesegdiff calibrate -d {DATASET} -tr {TRAINER} -device cpu -np 1")
    return workspace


def test_predictions_of_the_same_kind_are_calibrated_and_keep_their_masks(
    calibrated: Workspace, two_cases: Path, refined: Path, tmp_path: Path
) -> None:
    stored = json.loads((calibrated.results() / "plans.json").read_text())["spinesegdiff"]
    assert stored["sampler"]["t_start"] == 30
    (calibration,) = stored["calibrations"]
    splits = json.loads((calibrated.preprocessed / "splits_final.json").read_text())
    assert calibration["cases"] == len(splits[0]["val"])
    assert len(calibration["temperatures"]) == 4
    assert (calibrated.results() / "reliability.png").read_bytes().startswith(b"\x89PNG")

    told = calibrated.predict(two_cases, tmp_path, "--refine --save_probabilities")
    assert "calibrated for other settings" not in told
    assert masks_of(tmp_path) == masks_of(refined)
    for npz in refined.glob("*.npz"):
        plain, scaled = (np.load(folder / npz.name)["probabilities"] for folder in (refined, tmp_path))
        assert not np.allclose(scaled, plain, atol=1e-3)


def test_predictions_of_another_kind_are_not(calibrated: Workspace, two_cases: Path, tmp_path: Path) -> None:
    told = calibrated.predict(two_cases, tmp_path, "--no_refine --save_probabilities")
    assert "calibrated for other settings" in told
