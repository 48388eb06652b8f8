"""Five stock folds, their predictions collected, a refiner trained on them: with the commands alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ..helpers.model_commands import DATASET, Workspace, log_of

STOCK = "nnUNetTrainerStage1_1epochs_1iters"
REFINER = "nnUNetTrainerSpineSegDiff_1epochs_3iters"
COLLECT = f"spinesegdiff presegment -d {DATASET} -c 2d -tr {STOCK}"
TRAIN = f"nnUNetv2_train {DATASET} 2d 0 -tr {REFINER} -device cpu"


@pytest.fixture(scope="module")
def five_folds(planned: Workspace) -> Workspace:
    """Five folds of stage 1, trained for one iteration each."""
    for fold in range(5):
        planned.run(f"nnUNetv2_train {DATASET} 2d {fold} -tr {STOCK} -device cpu --npz")
    return planned


def collection(workspace: Workspace) -> Path:
    return workspace.preprocessed / "presegmentations" / f"{STOCK}__nnUNetPlans__2d"


def last_error(output: str) -> str:
    assert "Traceback" not in output
    return output.strip().splitlines()[-1]


def test_collected_used_and_refused_when_stale(five_folds: Workspace) -> None:
    splits = json.loads((five_folds.preprocessed / "splits_final.json").read_text())
    cases = sorted(case for fold in splits for case in fold["val"])
    assert len(cases) == 5

    # A case without prediction is named, with the command that repairs it; the others are done.
    lost = splits[2]["val"][0]
    npz = five_folds.results(STOCK) / "fold_2" / "validation" / f"{lost}.npz"
    npz.rename(npz.with_suffix(".lost"))
    output = five_folds.run(f"{COLLECT} -np 1", fails=True)
    assert f"({lost})" in output
    assert f"nnUNetv2_train {DATASET} 2d 2 -tr {STOCK} --val --npz" in output
    assert f"4 out-of-fold presegmentations of {STOCK}" in output
    assert "incomplete and not used" in last_error(output)
    assert not (collection(five_folds) / "manifest.json").exists()

    # Complete: every case on the grid of its preprocessed image.
    npz.with_suffix(".lost").rename(npz)
    assert f"5 out-of-fold presegmentations of {STOCK}" in five_folds.run(f"{COLLECT} -np 1")
    manifest = json.loads((collection(five_folds) / "manifest.json").read_text())
    assert manifest["cases"] == cases
    assert sorted(manifest["sources"]["checkpoints"]) == ["0", "1", "2", "3", "4"]
    with np.load(collection(five_folds) / "softmax" / f"{lost}.npz") as archive:
        assert archive["probabilities"].dtype == np.float16
        assert np.allclose(archive["probabilities"].astype(float).sum(0), 1, atol=0.01)

    # Used: the refiner of fold 0 says so, and validates as ever.
    five_folds.run(TRAIN, spinesegdiff_stage1=STOCK)
    fold = five_folds.results(REFINER) / "fold_0"
    assert f"Presegmentations: out of fold, 5 cases from {collection(five_folds)}." in log_of(fold)
    assert json.loads((fold / "refinement.json").read_text())["stage1_frozen"]

    # Stale: one fold is another training's now.
    checkpoint = five_folds.results(STOCK) / "fold_3" / "checkpoint_final.pth"
    shutil.copy(five_folds.results(STOCK) / "fold_4" / "checkpoint_final.pth", checkpoint)
    told = last_error(five_folds.run(TRAIN, fails=True, spinesegdiff_stage1=STOCK))
    assert "stale, fold 3" in told
    assert COLLECT in told
