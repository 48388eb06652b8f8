"""Every system of the paper through nnU-Net's commands: trained, resumed, predicted, handed on as a zip."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from . import one_process
from .conftest import DATASET, Workspace

SYSTEMS = {
    "nnUNetTrainerStage1": "",
    "nnUNetTrainerSpineSegDiff": "_T100_n1_width25",
    "nnUNetTrainerSpineSegDiffFromNoise": "_n2_S1_width25",
    "nnUNetTrainerSpineSegDiffNoIE": "_n2_S1_width25",
    "nnUNetTrainerDiffUNet": "_n2_S2_width25",
    "nnUNetTrainerIISDM": "_n2_S2_width25",
}
IN_3D = ("nnUNetTrainerStage1", "nnUNetTrainerDiffUNet", "nnUNetTrainerSpineSegDiff")
DATASET_3D = "503"
IN_TEST_COMMANDS = "nnUNetTrainerSpineSegDiff"
"""In 2D every one of these steps, and more, is a test of `test_commands`."""


def train_resume_predict_and_install(
    workspace: Workspace, system: str, dataset: str, configuration: str, images: Path, out: Path
) -> None:
    """Two epochs, a third after a stop, prediction by the stock command, the same from a zip elsewhere."""
    two, three = (f"{system}_{n}epochs_2iters{SYSTEMS[system]}" for n in (2, 3))
    (name,) = (path.name for path in (workspace.root / "raw").glob(f"Dataset{dataset}_*"))

    def fold(trainer: str) -> Path:
        return workspace.root / "results" / name / f"{trainer}__nnUNetPlans__{configuration}" / "fold_0"

    model = f"-d {dataset} -c {configuration} -f 0 -tr {three}"
    predict = f"nnUNetv2_predict -i {images} {model} -device cpu -npp 0 -nps 0 -o"
    archive, elsewhere = out / "model.zip", out / "elsewhere"
    elsewhere.mkdir(parents=True)
    fold(three).mkdir(parents=True)
    commands = [
        f"nnUNetv2_train {dataset} {configuration} 0 -tr {two} -device cpu",
        f"cp {fold(two) / 'checkpoint_final.pth'} {fold(three) / 'checkpoint_latest.pth'}",
        f"nnUNetv2_train {dataset} {configuration} 0 -tr {three} -device cpu --c",
        f"{predict} {out / 'here'}",
        f"nnUNetv2_export_model_to_zip {model} -o {archive}",
        f"nnUNet_results={elsewhere} nnUNetv2_install_pretrained_model_from_zip {archive}",
        f"{predict} {out / 'there'}",
    ]
    words = " ".join(shlex.quote(command) for command in commands)
    workspace.run(f"nnUNet_n_proc_DA=0 python {one_process.__file__} {words}")

    assert (elsewhere / name / fold(three).parent.name / "plans.json").is_file()
    log = "".join(path.read_text() for path in fold(three).glob("training_log*.txt"))
    assert "Epoch 2" in log
    assert "Epoch 1" not in log
    checkpoint = torch.load(fold(three) / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    assert checkpoint["current_epoch"] == 3
    assert checkpoint["trainer_name"] == three
    summary = json.loads((fold(three) / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) >= 1
    assert np.isfinite(summary["foreground_mean"]["Dice"])
    names = sorted(image.name.replace("_0000", "") for image in images.iterdir())
    for mask in names:
        assert (out / "here" / mask).read_bytes() == (out / "there" / mask).read_bytes()
        found = sitk.ReadImage(str(out / "here" / mask))
        scan = sitk.ReadImage(str(images / mask.replace(".nii.gz", "_0000.nii.gz")))
        assert found.GetSize() == scan.GetSize()
        assert set(np.unique(sitk.GetArrayFromImage(found))) <= {0, 1, 2, 3}


@pytest.mark.parametrize("system", [system for system in SYSTEMS if system != IN_TEST_COMMANDS])
def test_in_2d(system: str, planned: Workspace, two_cases: Path, tmp_path: Path) -> None:
    train_resume_predict_and_install(planned, system, DATASET, "2d", two_cases, tmp_path)


@pytest.fixture(scope="module")
def planned_3d(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Whole volumes of a phantom cohort, at 8 mm."""
    workspace = Workspace(tmp_path_factory.mktemp("end_to_end_3d"))
    workspace.run("spinesegdiff phantom -o cohort --patients 5 --seed 4 -np 2")
    workspace.run(f"spinesegdiff convert -i cohort -d {DATASET_3D} --contrast t2 --dim 3d -np 2")
    workspace.run(
        f"nnUNetv2_plan_and_preprocess -d {DATASET_3D} -c 3d_fullres -npfp 2 -np 2 "
        "-overwrite_target_spacing 8 8 8"
    )
    return workspace


@pytest.fixture(scope="module")
def one_volume(planned_3d: Workspace) -> Path:
    folder = planned_3d.root / "one_volume"
    folder.mkdir()
    image = min((planned_3d.root / "raw").glob("*/imagesTr/*"))
    (folder / image.name).write_bytes(image.read_bytes())
    return folder


@pytest.mark.parametrize("system", IN_3D)
def test_in_3d(system: str, planned_3d: Workspace, one_volume: Path, tmp_path: Path) -> None:
    train_resume_predict_and_install(planned_3d, system, DATASET_3D, "3d_fullres", one_volume, tmp_path)
