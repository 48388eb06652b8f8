"""Every system of the paper through nnU-Net's commands: trained, resumed, predicted, handed on as a zip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ..helpers.model_commands import DATASET, Workspace, load, log_of, masks_of, shared
from .conftest import SYSTEMS

IN_3D = ("nnUNetTrainerStage1", "nnUNetTrainerDiffUNet", "nnUNetTrainerSpineSegDiff")
DATASET_3D = "503"


def train_resume_predict_and_install(
    workspace: Workspace, system: str, dataset: str, configuration: str, images: Path, out: Path
) -> None:
    """Two epochs, a third after a stop, prediction by the stock command, the same from a zip elsewhere."""
    two, three = (f"{system}_{n}epochs_2iters{SYSTEMS[system]}" for n in (2, 3))
    (name,) = (path.name for path in (workspace.root / "raw").glob(f"Dataset{dataset}_*"))

    def fold(trainer: str) -> Path:
        return workspace.root / "results" / name / f"{trainer}__nnUNetPlans__{configuration}" / "fold_0"

    train = f"nnUNetv2_train {dataset} {configuration} 0 -device cpu -tr"
    model = f"-d {dataset} -c {configuration} -f 0 -tr {three}"
    predict = f"nnUNetv2_predict -i {images} {model} -device cpu -npp 0 -nps 0 -o"
    elsewhere = out / "elsewhere"
    elsewhere.mkdir(parents=True)
    workspace.run(f"{train} {two}")
    fold(three).mkdir(parents=True)
    shutil.copy(fold(two) / "checkpoint_final.pth", fold(three) / "checkpoint_latest.pth")
    workspace.run(f"{train} {three} --c")
    workspace.run(f"{predict} {out / 'here'}")
    workspace.run(f"nnUNetv2_export_model_to_zip {model} -o {out / 'model.zip'}")
    install = f"nnUNetv2_install_pretrained_model_from_zip {out / 'model.zip'}"
    workspace.run(install, nnUNet_results=str(elsewhere))
    workspace.run(f"{predict} {out / 'there'}", nnUNet_results=str(elsewhere))

    assert (elsewhere / name / fold(three).parent.name / "plans.json").is_file()
    log = log_of(fold(three))
    assert "Epoch 2" in log
    assert "Epoch 1" not in log
    checkpoint = load(fold(three) / "checkpoint_final.pth")
    assert (checkpoint["current_epoch"], checkpoint["trainer_name"]) == (3, three)
    summary = json.loads((fold(three) / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) >= 1
    assert np.isfinite(summary["foreground_mean"]["Dice"])
    assert len(masks_of(out / "here")) == len(list(images.iterdir()))
    assert masks_of(out / "here") == masks_of(out / "there")
    for mask in masks_of(out / "here"):
        found = sitk.ReadImage(str(out / "here" / mask))
        scan = sitk.ReadImage(str(images / mask.replace(".nii.gz", "_0000.nii.gz")))
        assert found.GetSize() == scan.GetSize()
        assert set(np.unique(sitk.GetArrayFromImage(found))) <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    "system",
    [
        "nnUNetTrainerDiffUNet",
        *(pytest.param(s, marks=pytest.mark.slow) for s in SYSTEMS if s != "nnUNetTrainerDiffUNet"),
    ],
)
def test_in_2d(system: str, planned: Workspace, two_cases: Path, tmp_path: Path) -> None:
    train_resume_predict_and_install(planned, system, DATASET, "2d", two_cases, tmp_path)


@pytest.fixture(scope="module")
def planned_3d(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Whole volumes of the phantoms, at 8 mm."""

    def build(root: Path) -> None:
        workspace = Workspace(root)
        workspace.run(f"spinesegdiff convert -i {cohort} -d {DATASET_3D} --contrast t2 --dim 3d -np 1")
        workspace.run(
            f"nnUNetv2_plan_and_preprocess -d {DATASET_3D} -c 3d_fullres -npfp 1 -np 1 "
            "-overwrite_target_spacing 8 8 8"
        )

    return Workspace(shared(tmp_path_factory, "planned_3d", build))


@pytest.mark.slow
@pytest.mark.parametrize("system", IN_3D)
def test_in_3d(system: str, planned_3d: Workspace, tmp_path: Path) -> None:
    (tmp_path / "one_volume").mkdir()
    shutil.copy(min((planned_3d.root / "raw").glob("*/imagesTr/*")), tmp_path / "one_volume")
    train_resume_predict_and_install(
        planned_3d, system, DATASET_3D, "3d_fullres", tmp_path / "one_volume", tmp_path / "out"
    )
