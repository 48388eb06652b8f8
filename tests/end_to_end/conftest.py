"""One small cohort and one short training, made with the commands that a user types, for all tests here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

EPOCHS, ITERATIONS = 2, 30
TRAINER = f"nnUNetTrainerSpineSegDiff_{EPOCHS}epochs_{ITERATIONS}iters_width25"
STAGE1 = "nnUNetTrainerStage1_1epochs_2iters"
DATASET = "501"


@dataclass(frozen=True)
class Workspace:
    """nnU-Net's three folders and a shell that is set up as `eval "$(spinesegdiff env)"` leaves it."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw" / "Dataset501_SPIDER"

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / "Dataset501_SPIDER"

    def results(self, trainer: str = TRAINER) -> Path:
        return self.root / "results" / "Dataset501_SPIDER" / f"{trainer}__nnUNetPlans__2d"

    def environment(self, **changes: str) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "nnUNet_raw": str(self.root / "raw"),
            "nnUNet_preprocessed": str(self.root / "preprocessed"),
            "nnUNet_results": str(self.root / "results"),
            "nnUNet_def_n_proc": "2",
            "nnUNet_n_proc_DA": "1",
            **changes,
        }

    def run(self, command: str, *, fails: bool = False, **environment: str) -> str:
        """Run a shell line after the `eval`; returns its output, stderr included."""
        line = f'eval "$(spinesegdiff env)" && {command}'
        done = subprocess.run(
            ["sh", "-c", line],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=900,
            cwd=self.root,
        )
        output = done.stdout + done.stderr
        failed = done.returncode != 0
        assert failed == fails, f"{command} ended with status {done.returncode}:\n{output[-3000:]}"
        return output

    def predict(
        self, images: Path, output: Path, flags: str = "", trainer: str = TRAINER, fails: bool = False
    ) -> str:
        model = f"-d {DATASET} -c 2d -f 0 -tr {trainer} -device cpu -npp 1 -nps 1"
        return self.run(f"nnUNetv2_predict -i {images} -o {output} {model} {flags}", fails=fails)


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A phantom cohort, converted, planned and preprocessed: at 2 mm, so that training takes seconds."""
    workspace = Workspace(tmp_path_factory.mktemp("end_to_end"))
    workspace.run("spinesegdiff phantom -o cohort --patients 8 --seed 3 -np 2")
    workspace.run(f"spinesegdiff convert -i cohort -d {DATASET} --contrast t2 -np 2")
    workspace.run(
        f"nnUNetv2_plan_and_preprocess -d {DATASET} -c 2d --verify_dataset_integrity -npfp 2 -np 2 "
        "-overwrite_target_spacing 4 2 2"
    )
    return workspace


@pytest.fixture(scope="session")
def trained(planned: Workspace) -> Workspace:
    """The same with both stages trained together, just enough to find a spine, and validated."""
    planned.run(f"nnUNetv2_train {DATASET} 2d 0 -tr {TRAINER} -device cpu")
    return planned


@pytest.fixture(scope="session")
def two_cases(planned: Workspace) -> Path:
    """A folder with two images to predict."""
    folder = planned.root / "two_cases"
    folder.mkdir()
    for image in sorted((planned.raw / "imagesTr").iterdir())[:2]:
        (folder / image.name).write_bytes(image.read_bytes())
    return folder


@pytest.fixture(scope="session")
def refined(trained: Workspace, two_cases: Path) -> Path:
    """Predictions of the two images with --refine."""
    trained.predict(two_cases, trained.root / "refined", "--refine")
    return trained.root / "refined"


@pytest.fixture(scope="session")
def unrefined(trained: Workspace, two_cases: Path) -> Path:
    """Predictions of the two images with --no_refine."""
    trained.predict(two_cases, trained.root / "unrefined", "--no_refine")
    return trained.root / "unrefined"


@pytest.fixture(scope="session")
def stage1_trained(planned: Workspace) -> str:
    """The name of a finished training of stage 1 alone."""
    planned.run(f"nnUNetv2_train {DATASET} 2d 0 -tr {STAGE1} -device cpu")
    return STAGE1
