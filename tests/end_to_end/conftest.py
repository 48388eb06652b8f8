"""One small cohort and one short training for all tests here, made with the commands that a user types."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.network.planned import scale_features

from ..helpers.model_commands import DATASET, TRAINER, Workspace, shared

STAGE1 = "nnUNetTrainerStage1_1epochs_2iters"
SYSTEMS = {
    "nnUNetTrainerStage1": "",
    "nnUNetTrainerSpineSegDiff": "_T80_N100_n1_width25",
    "nnUNetTrainerSpineSegDiffFromNoise": "_n2_S1_width25",
    "nnUNetTrainerSpineSegDiffNoIE": "_n2_S1_width25",
    "nnUNetTrainerDiffUNet": "_n2_S2_width25",
    "nnUNetTrainerIISDM": "_n2_S2_width25",
}
"""Every trainer of the paper, and suffixes with which it takes a moment."""


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of five patients."""

    def draw(folder: Path) -> None:
        Workspace(folder).run(f"spinesegdiff phantom -o {folder} --patients 5 --seed 3 -np 1")

    return shared(tmp_path_factory, "cohort", draw)


def plan(cohort: Path, root: Path, spacing: str) -> Workspace:
    workspace = Workspace(root)
    workspace.run(f"spinesegdiff convert -i {cohort} -d {DATASET} --contrast t2 -np 1")
    workspace.run(
        f"nnUNetv2_plan_and_preprocess -d {DATASET} -c 2d --verify_dataset_integrity -npfp 1 -np 1 "
        f"-overwrite_target_spacing {spacing}"
    )
    return workspace


def build_small(cohort: Path, root: Path) -> None:
    """Pixels of 4 mm, and a quarter of the planned features, so that training takes seconds."""
    workspace = plan(cohort, root, "4 4 4")
    path = workspace.preprocessed / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    planned = plans["configurations"]["2d"]
    planned["architecture"]["arch_kwargs"] = scale_features(planned["architecture"]["arch_kwargs"], 0.25)
    planned["batch_size"] = 2
    path.write_text(json.dumps(plans))


@pytest.fixture(scope="session")
def planned(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The cohort, converted, planned and preprocessed."""
    return Workspace(shared(tmp_path_factory, "planned", partial(build_small, cohort)))


@pytest.fixture(scope="session")
def planned_finely(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The cohort and three more patients, with pixels of 2 mm, as nnU-Net plans them."""

    def build(root: Path) -> None:
        shutil.copytree(cohort, root / "cohort")
        Workspace(root).run(f"spinesegdiff phantom -o {root / 'cohort'} --patients 8 --seed 3 -np 1")
        plan(root / "cohort", root, "4 2 2")

    return Workspace(shared(tmp_path_factory, "planned_finely", build))


@pytest.fixture(scope="session")
def trained(planned: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Both stages trained together, and validated."""

    def train(folder: Path) -> None:
        planned.run(f"nnUNetv2_train {DATASET} 2d 0 -tr {TRAINER} -device cpu")

    shared(tmp_path_factory, "trained", train)
    return planned


@pytest.fixture(scope="session")
def stage1_trained(planned: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a finished training of stage 1 alone."""

    def train(folder: Path) -> None:
        planned.run(f"nnUNetv2_train {DATASET} 2d 0 -tr {STAGE1} -device cpu")

    shared(tmp_path_factory, "stage1_trained", train)
    return STAGE1


@pytest.fixture(scope="session")
def two_cases(planned: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images to predict."""

    def copy(folder: Path) -> None:
        for image in sorted((planned.raw / "imagesTr").iterdir())[:2]:
            (folder / image.name).write_bytes(image.read_bytes())

    return shared(tmp_path_factory, "two_cases", copy)


@pytest.fixture(scope="session")
def refined(trained: Workspace, two_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of the two images with --refine and maps."""

    def predict(out: Path) -> None:
        trained.predict(two_cases, out, "--refine --save_uncertainty --save_probabilities")

    return shared(tmp_path_factory, "refined", predict)
