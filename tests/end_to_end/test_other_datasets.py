"""Datasets that are not ours: other labels, overlapping regions, an ignore label."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ..helpers.model_commands import Workspace

TRAINER = "nnUNetTrainerSpineSegDiff_1epochs_2iters_width10"


def write_dataset(folder: Path, rng: np.random.Generator, cases: int = 5) -> None:
    """Bright squares with a brighter core on noise; a corner is labelled ignore."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for i in range(cases):
        labels = np.zeros((1, 64, 64), np.uint8)
        y, x = rng.integers(5, 30, 2)
        labels[0, y : y + 28, x : x + 28] = 1
        labels[0, y + 8 : y + 20, x + 8 : x + 20] = 2
        labels[0, :6, :6] = 3
        image = (labels % 3 * 100 + rng.normal(0, 10, labels.shape)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"case{i}_0000.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "labelsTr" / f"case{i}.nii.gz"))
    dataset = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
        "regions_class_order": [1, 2],
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("regions"))
    write_dataset(workspace.root / "raw" / "Dataset600_Regions", np.random.default_rng(0))
    workspace.run("nnUNetv2_plan_and_preprocess -d 600 -c 2d --verify_dataset_integrity -npfp 1 -np 1")
    workspace.run(f"nnUNetv2_train 600 2d 0 -tr {TRAINER} -device cpu")
    return workspace


def test_regions_and_ignore_label_train_and_predict(regions: Workspace) -> None:
    model = regions.root / "results" / "Dataset600_Regions" / f"{TRAINER}__nnUNetPlans__2d"
    report = json.loads((model / "fold_0" / "refinement.json").read_text())
    assert set(report["dice"]) == {"whole", "core", "mean"}
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    assert bool(checkpoint["network_weights"]["heads_are_regions"])

    images = regions.root / "raw" / "Dataset600_Regions" / "imagesTr"
    output = regions.root / "predicted"
    regions.run(
        f"nnUNetv2_predict -i {images} -o {output} -d 600 -c 2d -f 0 -tr {TRAINER} -device cpu --refine "
        "-npp 0 -nps 0"
    )
    masks = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in sorted(output.glob("*.nii.gz"))]
    assert len(masks) == 5
    assert set(np.unique(masks)) <= {0, 1, 2}
