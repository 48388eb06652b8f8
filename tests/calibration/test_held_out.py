"""Held-out cases: what is measured is what a prediction of them holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_spinesegdiff.calibration import held_out
from nnunetv2_spinesegdiff.calibration.held_out import HeldOutPredictor, Measured, _read
from nnunetv2_spinesegdiff.uncertainty.ranking import near_foreground

from ..helpers.model_folder import SCAN

VOXEL = 1.0 * 1.25 * 4.0
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


@pytest.fixture
def truths(tmp_path, two_scans) -> dict[str, str]:
    """A block of every label in each scan's true segmentation."""
    files = {}
    for name in "ab":
        labels = np.zeros(SCAN, np.uint8)
        labels[0, 2:9, 6:16], labels[0, 9:17, 10:18], labels[1, 3:6, 15:25] = 1, 2, 3
        image = sitk.GetImageFromArray(labels)
        image.SetSpacing((1.0, 1.25, 4.0))
        files[name] = str(tmp_path / f"truth_{name}.nii.gz")
        sitk.WriteImage(image, files[name])
    return files


def measured(model, scans: Path, truths: dict[str, str], output: Path) -> list[Measured]:
    """As `measure` does, without its worker processes."""
    return measured_by(model.predictor(HeldOutPredictor), scans, truths, output)


def measured_by(
    predictor: HeldOutPredictor, scans: Path, truths: dict[str, str], output: Path
) -> list[Measured]:
    """The cases that could be measured."""
    predictor.labels = truths
    output.mkdir()
    files = [[str(scans / f"{name}_0000.nii.gz")] for name in truths]
    predict: Any = predictor.predict_from_files_sequential
    predict(files, [str(output / name) for name in truths])
    return [_read(path) for path in sorted(output.glob("*.npz"))]


def stock(model, scans: Path, output: Path) -> Path:
    output.mkdir()
    model.predictor(nnUNetPredictor).predict_from_files_sequential(str(scans), str(output), True)
    return output


def array(path: Path | str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_pixels_and_sizes_are_those_of_the_prediction(make_model, two_scans, truths, tmp_path):
    model = make_model()
    cases = measured(model, two_scans, truths, tmp_path / "measured")
    expected = stock(model, two_scans, tmp_path / "stock")
    assert [m.case for m in cases] == ["a", "b"]
    for m in cases:
        truth, mask = array(truths[m.case]), array(expected / f"{m.case}.nii.gz")
        p = np.load(expected / f"{m.case}.npz")["probabilities"]
        near = near_foreground(truth > 0, mask > 0, m_stage1(model, two_scans, tmp_path, m.case) > 0)
        assert np.allclose(m.probabilities, p[:, near], atol=1e-6)
        assert (m.truth == truth[near]).all()
        assert np.allclose(m.true, [(truth == label).sum() * VOXEL for label in (1, 2, 3)])
        assert np.allclose(m.predicted, [(mask == label).sum() * VOXEL for label in (1, 2, 3)])
        assert m.unit == pytest.approx(VOXEL)
        assert m.stage1 is not None
        assert not np.allclose(m.stage1, m.probabilities, atol=1e-3)
        assert m.uncertainty.shape == m.truth.shape


def m_stage1(model, scans: Path, tmp_path: Path, case: str) -> np.ndarray:
    output = tmp_path / f"stage1_{case}"
    output.mkdir()
    predictor = model.predictor(nnUNetPredictor)
    predictor.network.refine_predictions = False
    predictor.predict_from_files_sequential(
        [[str(scans / f"{case}_0000.nii.gz")]], [str(output / case)], False
    )
    return array(output / f"{case}.nii.gz")


def test_regions_have_a_truth_each(make_model, two_scans, truths, tmp_path):
    labels = {**REGIONS, "ignore": 3}
    model = make_model(labels, regions_class_order=[1, 2])
    (m, _) = measured(model, two_scans, truths, tmp_path / "measured")
    assert m.truth.shape == m.probabilities.shape
    assert set(np.unique(m.truth)) == {0, 1}
    assert (m.truth[0] >= m.truth[1]).all()  # the core is a part of the whole
    assert m.truth[1].sum() == 8 * 8


def test_ignored_pixels_are_left_out_and_make_sizes_unknown(make_model, two_scans, truths, tmp_path):
    labels = {"background": 0, "one": 1, "two": 2, "ignore": 3}
    (m, _) = measured(make_model(labels), two_scans, truths, tmp_path / "measured")
    assert set(np.unique(m.truth)) == {0, 1, 2}
    assert np.isnan(m.true).all()
    assert np.isnan(m.predicted).all()


def test_of_many_pixels_the_same_some_are_drawn(make_model, two_scans, truths, tmp_path, monkeypatch):
    model = make_model()
    everything = measured(model, two_scans, truths, tmp_path / "all")[0]
    monkeypatch.setattr(held_out, "MOST_PIXELS", 100)
    first, again = (measured(model, two_scans, truths, tmp_path / name)[0] for name in ("one", "two"))
    assert first.truth.shape == (100,)
    assert everything.truth.size > 100
    assert np.array_equal(first.probabilities, again.probabilities)
    assert np.array_equal(first.true, everything.true)


def test_a_case_that_cannot_be_read_is_named_and_the_other_measured(make_model, two_scans, truths, tmp_path):
    (two_scans / "a_0000.nii.gz").write_bytes(b"no image")
    predictor = make_model().predictor(HeldOutPredictor)
    (found,) = measured_by(predictor, two_scans, truths, tmp_path / "measured")
    assert found.case == "b"
    assert len(predictor.failures) == 1
    assert "a_0000.nii.gz" in predictor.failures[0]
