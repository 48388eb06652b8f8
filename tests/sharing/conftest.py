from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.environment import TRAINERS
from nnunetv2_spinesegdiff.sharing.export import export_model

from ..helpers.model_folder import write_model
from ..helpers.model_zips import Zip


@pytest.fixture(scope="session")
def exported_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip of a small model of two folds."""
    root = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("nnUNet_extTrainer", str(TRAINERS))
        return export_model(write_model(root / "model").folder, root / "model.zip")


@pytest.fixture
def zipped(exported_once: Path, tmp_path: Path) -> Zip:
    """A copy that the test may change."""
    return Zip(Path(shutil.copy(exported_once, tmp_path / "model.zip")))
