from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.files import written_whole
from nnunetv2_spinesegdiff.segmentation import cohort, outputs

from ..helpers.model_spine import reading_model, spine, write


@pytest.fixture
def stand_in_model(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Cohorts are segmented with `reading_model`; the settings of every load are listed."""
    loaded: list[Any] = []

    def load(opened: Any, settings: Any, device: Any) -> Any:
        loaded.append(settings)
        model = reading_model()
        model.notes = []
        return model

    opened = SimpleNamespace(sha256="abc", label="stand-in", folds=["0"])
    monkeypatch.setattr(cohort, "open_model", lambda path, scratch, **choice: opened)
    monkeypatch.setattr(cohort, "SliceModel", load)
    return loaded


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else."""

    def draw(done: Any, path: Path) -> None:
        with written_whole(path) as temporary:
            sitk.WriteImage(sitk.GetImageFromArray(done.shown.mask), str(temporary))

    monkeypatch.setattr(outputs, "_draw", draw)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for number, ending in enumerate((".nii.gz", ".mha", ".nrrd")):
        write(spine(number), tmp_path / "scans" / f"scan{number}{ending}")
    return tmp_path / "scans"
