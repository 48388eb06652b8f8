"""run.json follows the schema that the documentation publishes."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from nnunetv2_spinesegdiff.segmentation import cohort
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings

from ..helpers.model_cohort import run
from ..helpers.run_schema import SCHEMA, valid_run

pytestmark = pytest.mark.usefixtures("quick_pictures", "stand_in_model")


@pytest.fixture
def out(scans, tmp_path, monkeypatch):
    """Results of two runs with different settings, and a scan that cannot be read."""
    opened = SimpleNamespace(sha256="0" * 64, label="stand-in", folds=["0"])
    monkeypatch.setattr(cohort, "open_model", lambda path, scratch, **choice: opened)
    run(scans / "scan0.nii.gz", tmp_path / "out", settings=replace(SegmentationSettings(), mirroring=False))
    (scans / "scan2.nrrd").write_bytes(b"damaged")
    (scans / "scan3.mnc").write_bytes(b"MINC")
    (scans / "scan0.nii.gz").unlink()
    run(scans, tmp_path / "out")
    return tmp_path / "out"


def test_failures_and_earlier_results_follow_the_schema_which_rejects_other_contents(out):
    told = valid_run(out / "run.json")
    assert "made_with" in told["scans"]["scan0"]
    assert "failure" in told["scans"]["scan2"]
    assert told["passed_over"] == ["scan3.mnc"]

    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for change in (
        {"use": "clinical use"},
        {"extra": 1},
        {"scans": {"a": {"files": ["a_seg.nii.gz"]}}},
        {"model": {"name": "m", "sha256": "abc", "folds": ["0"], "bundled": False}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**told, **change}, schema)
