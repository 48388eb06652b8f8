"""The files of a prediction: masks are nnU-Net's own, maps lie where the scan lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from scipy import ndimage

from nnunetv2_spinesegdiff.diffusion.sampler import Sampled
from nnunetv2_spinesegdiff.evaluation.calibration import temperature_scaled
from nnunetv2_spinesegdiff.evaluation.conformal import area_bounds
from nnunetv2_spinesegdiff.inference import predictor as predictor_module
from nnunetv2_spinesegdiff.inference.calibrated import Calibration
from nnunetv2_spinesegdiff.inference.mirrored import Predicted
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings

REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def predicted(predictor: nnUNetPredictor, scans: Path, output: Path, overwrite: bool = True) -> Path:
    """Without worker processes, for their start takes seconds."""
    output.mkdir(exist_ok=True)
    predictor.predict_from_files_sequential(str(scans), str(output), True, overwrite)
    return output


def ours(model, **settings) -> SpineSegDiffPredictor:
    return model.predictor(
        SpineSegDiffPredictor, settings=PredictionSettings(save_uncertainty=True, **settings)
    )


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("labels", [None, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"])
def test_masks_and_probabilities_are_those_of_the_stock_predictor(
    make_model, two_scans, tmp_path, labels, reader
):
    model = make_model(labels, reader, **({"regions_class_order": [1, 2]} if labels else {}))
    stock = predicted(model.predictor(nnUNetPredictor), two_scans, tmp_path / "stock")
    found = predicted(ours(model), two_scans, tmp_path / "ours")
    for name in "ab":
        assert array(stock / f"{name}.nii.gz").any()
        assert (stock / f"{name}.nii.gz").read_bytes() == (found / f"{name}.nii.gz").read_bytes()
        first, second = (np.load(folder / f"{name}.npz")["probabilities"] for folder in (stock, found))
        assert np.array_equal(first, second)
        heatmap = array(found / "uncertainty" / f"{name}_uncertainty.nii.gz")
        assert heatmap.shape == (3, 25, 40)
        assert 0 < heatmap.max() <= 1 / np.e + 1e-6


def test_calibration_changes_probabilities_maps_and_bounds_and_no_mask(make_model, two_scans, tmp_path):
    model = make_model()
    plain = predicted(ours(model), two_scans, tmp_path / "plain")
    temperatures = [2.0, 0.5, 3.0, 1.5]
    predictor = ours(model)
    predictor.calibration = Calibration(temperatures, {"spinal_canal": 0.1, "vertebrae": 0.2, "ivd": np.inf})
    found = predicted(predictor, two_scans, tmp_path / "calibrated")
    for name in "ab":
        assert (plain / f"{name}.nii.gz").read_bytes() == (found / f"{name}.nii.gz").read_bytes()
        first, second = (np.load(folder / f"{name}.npz")["probabilities"] for folder in (plain, found))
        assert np.allclose(second, temperature_scaled(first, np.array(temperatures), False), atol=1e-6)
        maps = [array(f / "uncertainty" / f"{name}_uncertainty.nii.gz") for f in (plain, found)]
        assert np.abs(maps[0] - maps[1]).max() > 0.01
    rows = pd.read_csv(found / "uncertainty" / "confidence.csv")
    assert rows["area_low"].isna().tolist() == (rows["structure"] == "ivd").tolist()
    for structure, quantile in (("spinal_canal", 0.1), ("vertebrae", 0.2)):
        some = rows[rows["structure"] == structure]
        low, high = area_bounds(some["volume_mm3"].to_numpy(), quantile, 1.0 * 1.25 * 4.0)
        assert np.allclose(some["area_low"], low, rtol=1e-5)
        assert np.allclose(some["area_high"], high, rtol=1e-5)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO"])
def test_every_voxel_of_a_map_lies_where_the_scan_has_it(make_model, tmp_path, monkeypatch, reader):
    """Bright spots in an oblique, anisotropic, flipped volume with an empty border: the made-up network is
    unsure exactly where the image is bright, so the map must be bright at the spots' places in the world."""
    scan, spots = _scan_with_spots()
    (tmp_path / "scans").mkdir()
    sitk.WriteImage(scan, str(tmp_path / "scans" / "a_0000.nii.gz"))
    monkeypatch.setattr(predictor_module, "predict_mirrored", _unsure_where_bright)
    found = predicted(ours(make_model(reader=reader)), tmp_path / "scans", tmp_path / "out")

    heatmap = sitk.ReadImage(str(found / "uncertainty" / "a_uncertainty.nii.gz"))
    assert heatmap.GetPixelID() == sitk.sitkFloat32
    written = sitk.ReadImage(str(tmp_path / "scans" / "a_0000.nii.gz"))  # as NIfTI rounds the directions
    hot = sitk.GetArrayFromImage(heatmap) > 0.17
    near_spots = ndimage.binary_dilation(spots, np.ones((1, 3, 3)))
    assert hot.sum() > 0.5 * spots.sum()
    for z, y, x in np.argwhere(hot).tolist():
        point = heatmap.TransformIndexToPhysicalPoint((x, y, z))
        i, j, k = written.TransformPhysicalPointToIndex(point)
        assert near_spots[k, j, i]
    inner = ndimage.binary_erosion(spots, np.ones((1, 3, 3)))
    assert inner.sum() >= 5
    for z, y, x in np.argwhere(inner).tolist():
        point = written.TransformIndexToPhysicalPoint((x, y, z))
        i, j, k = heatmap.TransformPhysicalPointToIndex(point)
        assert hot[k, j, i]
    per_class = sitk.ReadImage(str(found / "uncertainty" / "a_uncertainty_per_class.nii.gz"))
    assert per_class.GetSize()[:3] == heatmap.GetSize()
    assert np.allclose(sitk.GetArrayFromImage(per_class).max(0), sitk.GetArrayFromImage(heatmap))


def _scan_with_spots() -> tuple[sitk.Image, np.ndarray]:
    rng = np.random.default_rng(0)
    voxels = np.zeros((6, 50, 61), np.float32)
    voxels[1:5, 7:44, 4:52] = rng.uniform(10, 20, (4, 37, 48))  # the rest is cropped away by nnU-Net
    spots = np.zeros(voxels.shape, bool)
    for z, y, x in ((1, 12, 8), (2, 30, 40), (3, 20, 25), (4, 36, 10), (4, 10, 44)):
        spots[z, y : y + 5, x : x + 4] = True
    voxels[spots] = 400
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.8, 1.3, 3.7))
    image.SetOrigin((-31.0, 57.5, 12.25))
    turn = sitk.VersorTransform((0.3, 0.5, -0.8), 0.6).GetMatrix()
    flipped = np.array(turn).reshape(3, 3) @ np.diag([1, -1, -1])
    image.SetDirection(flipped.ravel().tolist())
    return image, spots


def _unsure_where_bright(network, image, axes, **kwargs) -> Predicted:
    """Half background, half vertebrae where the image is bright, sure of the background elsewhere."""
    bright = (image[:, :1] > 3).float()
    zero = torch.zeros_like(bright)
    logits = torch.cat([9 - 9 * bright, zero - 9, zero, zero - 9], 1)
    return Predicted(logits, logits, Sampled([logits], False))


def test_going_on_predicts_again_what_is_truncated_and_nothing_else(make_model, two_scans, tmp_path):
    model = make_model()
    output = predicted(ours(model), two_scans, tmp_path / "out")
    wanted = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    heatmap = output / "uncertainty" / "a_uncertainty.nii.gz"
    heatmap.write_bytes(heatmap.read_bytes()[:-20])
    times = {path: path.stat().st_mtime_ns for path in wanted}
    predicted(ours(model), two_scans, output, overwrite=False)
    assert heatmap.read_bytes() == wanted[heatmap]
    redone = {path.name for path in wanted if path.stat().st_mtime_ns != times[path]}
    assert "a.nii.gz" in redone
    assert not any(name.startswith("b") for name in redone)
    assert {path for path in output.rglob("*") if path.is_file()} == set(wanted)


def test_nothing_of_an_earlier_prediction_stays_beside_a_new_mask(make_model, two_scans, tmp_path):
    model = make_model()
    output = predicted(ours(model), two_scans, tmp_path / "out")
    again = model.predictor(SpineSegDiffPredictor, settings=PredictionSettings())
    again.predict_from_files_sequential(str(two_scans), str(output), False, True)
    assert not list((output / "uncertainty").glob("*.nii.gz"))
    assert not list(output.glob("*.npz"))
    assert len(list(output.glob("*.nii.gz"))) == 2


def test_a_case_whose_export_fails_leaves_no_mask(make_model, two_scans, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("nnunetv2_spinesegdiff.inference.export.write_maps", fails)
    with pytest.raises(OSError, match="no space"):
        predicted(ours(make_model()), two_scans, tmp_path / "out")
    assert not list((tmp_path / "out").glob("a.nii.gz"))
