"""Five stock folds, their predictions collected, a refiner trained on them: with the commands alone."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from . import one_process
from .conftest import DATASET, Workspace

STOCK = "nnUNetTrainerStage1_1epochs_1iters"
REFINER = "nnUNetTrainerSpineSegDiff_1epochs_2iters_width25"
COLLECT = f"spinesegdiff presegment -d {DATASET} -c 2d -tr {STOCK}"
TRAIN = f"nnUNetv2_train {DATASET} 2d 0 -tr {REFINER} -device cpu"


def run(workspace: Workspace, command: str, fails: bool = False) -> str:
    """With few workers, for starting them takes longer than all that they do here."""
    few = f"export nnUNet_def_n_proc=1 spinesegdiff_stage1={STOCK}"
    return workspace.run(f"{few} && {command}", fails=fails)


@pytest.fixture(scope="module")
def five_folds(planned: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the planned workspace with five folds of stage 1, trained for one iteration each."""
    root = tmp_path_factory.mktemp("presegment") / "all"
    shutil.copytree(planned.root, root)
    workspace = Workspace(root)
    folds = [f"nnUNetv2_train {DATASET} 2d {fold} -tr {STOCK} -device cpu --npz" for fold in range(5)]
    words = " ".join(shlex.quote(command) for command in folds)
    run(workspace, f"nnUNet_n_proc_DA=0 python {one_process.__file__} {words}")
    return workspace


def collection(workspace: Workspace) -> Path:
    return workspace.preprocessed / "presegmentations" / f"{STOCK}__nnUNetPlans__2d"


def last_error(output: str) -> str:
    assert "Traceback" not in output
    return output.strip().splitlines()[-1]


def test_collected_used_and_refused_when_stale(five_folds: Workspace) -> None:
    splits = json.loads((five_folds.preprocessed / "splits_final.json").read_text())
    cases = sorted(case for fold in splits for case in fold["val"])
    assert len(cases) == 8

    # A case without prediction is named, with the command that mends it; the others are done.
    lost = splits[2]["val"][0]
    npz = five_folds.results(STOCK) / "fold_2" / "validation" / f"{lost}.npz"
    npz.rename(npz.with_suffix(".lost"))
    output = run(five_folds, f"{COLLECT} -np 1", fails=True)
    assert f"({lost}); run `nnUNetv2_train {DATASET} 2d 2 -tr {STOCK} --val --npz`" in output
    assert f"7 out-of-fold presegmentations of {STOCK}" in output
    assert "incomplete and not used" in last_error(output)
    assert not (collection(five_folds) / "manifest.json").exists()

    # Complete: every case on the grid of its preprocessed image.
    npz.with_suffix(".lost").rename(npz)
    assert f"8 out-of-fold presegmentations of {STOCK}" in run(five_folds, f"{COLLECT} -np 2")
    manifest = json.loads((collection(five_folds) / "manifest.json").read_text())
    assert manifest["cases"] == cases
    assert sorted(manifest["sources"]["checkpoints"]) == ["0", "1", "2", "3", "4"]
    with np.load(collection(five_folds) / "softmax" / f"{lost}.npz") as archive:
        assert archive["probabilities"].dtype == np.float16
        assert np.allclose(archive["probabilities"].astype(float).sum(0), 1, atol=0.01)

    # Used: the refiner of fold 0 says so, and validates as ever.
    run(five_folds, TRAIN)
    fold = five_folds.results(REFINER) / "fold_0"
    log = "".join(path.read_text() for path in fold.glob("training_log*.txt"))
    assert f"Presegmentations: out of fold, 8 cases from {collection(five_folds)}." in log
    assert json.loads((fold / "refinement.json").read_text())["stage1_frozen"]

    # Stale: one fold is another training's now.
    checkpoint = five_folds.results(STOCK) / "fold_3" / "checkpoint_final.pth"
    shutil.copy(five_folds.results(STOCK) / "fold_4" / "checkpoint_final.pth", checkpoint)
    told = last_error(run(five_folds, TRAIN, fails=True))
    assert "stale, fold 3 of stage 1 was trained again since" in told
    assert f"`spinesegdiff presegment -d {DATASET} -c 2d -tr {STOCK}` again" in told
