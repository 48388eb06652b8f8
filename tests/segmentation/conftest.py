from __future__ import annotations

from types import SimpleNamespace

import pytest

from nnunetv2_spinesegdiff.segmentation import cohort

from .made_up import reading_model


@pytest.fixture
def stand_in_model(monkeypatch):
    """Cohorts are segmented with `reading_model`; what it is asked for is listed."""
    loaded = []

    def load(opened, settings, device):
        loaded.append(settings)
        model = reading_model()
        model.notes = []
        return model

    opened = SimpleNamespace(sha256="abc", label="stand-in", folds=["0"])
    monkeypatch.setattr(cohort, "open_model", lambda path, scratch, **choice: opened)
    monkeypatch.setattr(cohort, "SliceModel", load)
    return loaded
