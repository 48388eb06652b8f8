"""The files of a prediction: masks are nnU-Net's own, maps lie where the scan lies."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name as reader_writer
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from scipy import ndimage

from nnunetv2_spinesegdiff.diffusion.sampler import Sampled
from nnunetv2_spinesegdiff.images.nifti import comment_of
from nnunetv2_spinesegdiff.inference import map_predictor
from nnunetv2_spinesegdiff.inference.mirrored import Predicted
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.uncertainty.conformal import area_bounds
from nnunetv2_spinesegdiff.uncertainty.stored import Calibration
from nnunetv2_spinesegdiff.uncertainty.temperature import temperature_scaled

from ..helpers.model_folder import SCAN
from ..helpers.model_plans import image

REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def predicted(predictor: nnUNetPredictor, scans: Path, output: Path, overwrite: bool = True) -> Path:
    """Without worker processes, for their start takes seconds."""
    output.mkdir(exist_ok=True)
    predictor.predict_from_files_sequential(str(scans), str(output), True, overwrite)
    return output


ITK_PLACE = {
    "sitk_stuff": {"spacing": (1.0, 1.25, 4.0), "origin": (0.0,) * 3, "direction": tuple(np.eye(3).ravel())}
}


def ours(model, **settings) -> SpineSegDiffPredictor:
    return model.predictor(
        SpineSegDiffPredictor, settings=PredictionSettings(save_uncertainty=True, **settings)
    )


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def affine_of(path: Path) -> np.ndarray:
    affine = nibabel.Nifti1Image.from_filename(path).affine
    assert affine is not None
    return affine


@pytest.mark.parametrize(
    ("reader", "labels"),
    [
        ("SimpleITKIO", None),
        ("SimpleITKIO", REGIONS),
        ("NibabelIO", None),
        ("NibabelIOWithReorient", REGIONS),
    ],
)
def test_masks_and_probabilities_are_those_of_the_stock_predictor(
    make_model, two_scans, tmp_path, reader, labels
):
    model = make_model(labels, reader, **({"regions_class_order": [1, 2]} if labels else {}))
    stock = predicted(model.predictor(nnUNetPredictor), two_scans, tmp_path / "stock")
    found = predicted(ours(model), two_scans, tmp_path / "ours")
    for name in "ab":
        assert array(stock / f"{name}.nii.gz").any()
        assert (stock / f"{name}.nii.gz").read_bytes() == (found / f"{name}.nii.gz").read_bytes()
        first, second = (np.load(folder / f"{name}.npz")["probabilities"] for folder in (stock, found))
        assert np.array_equal(first, second)
        # nnU-Net's ensembling reads these
        assert (stock / f"{name}.pkl").read_bytes() == (found / f"{name}.pkl").read_bytes()
        path = found / "uncertainty" / f"{name}_uncertainty.nii.gz"
        assert array(path).shape == SCAN
        heatmap = reader_writer(reader)().read_images([str(path)])[0][0]
        wrong = 1 - second.max(0) if labels is None else np.minimum(second, 1 - second).max(0)
        assert np.allclose(heatmap, wrong, atol=1e-6)
        assert heatmap.max() > 0.05


@pytest.mark.parametrize("labels", [None, REGIONS])
def test_the_map_of_the_paper_is_the_largest_entropy_of_the_structures(
    make_model, two_scans, tmp_path, labels
):
    model = make_model(labels, **({"regions_class_order": [1, 2]} if labels else {}))
    found = predicted(ours(model, uncertainty_map="paper"), two_scans, tmp_path / "out") / "uncertainty"
    for name in "ab":
        heatmap, per_class = (array(found / f"{name}_uncertainty{end}.nii.gz") for end in ("", "_per_class"))
        assert np.allclose(heatmap, per_class.max(0))
        assert 0 < heatmap.max() <= 1 / np.e + 1e-6
        assert comment_of(found / f"{name}_uncertainty.nii.gz") == "entropy (nats)"


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


@pytest.mark.parametrize(
    ("reader", "axes", "transpose"),
    [
        ("SimpleITKIO", 2, (0, 1, 2)),
        ("SimpleITKIOWithReorient", 2, (0, 1, 2)),
        ("NibabelIO", 2, (0, 1, 2)),
        ("NibabelIOWithReorient", 2, (0, 1, 2)),
        ("SimpleITKIO", 2, (1, 2, 0)),
        ("NibabelIOWithReorient", 2, (2, 0, 1)),
        ("SimpleITKIO", 3, (0, 1, 2)),
        ("SimpleITKIOWithReorient", 3, (2, 0, 1)),
    ],
)
def test_every_voxel_of_a_map_lies_where_the_scan_has_it(
    make_model, tmp_path, monkeypatch, reader, axes, transpose
):
    """Bright spots in an oblique, anisotropic, flipped volume with an empty border: the made-up network is
    unsure exactly where the image is bright, so the map must be bright at the spots' places in the world."""
    scan, spots = _scan_with_spots()
    (tmp_path / "scans").mkdir()
    sitk.WriteImage(scan, str(tmp_path / "scans" / "a_0000.nii.gz"))
    monkeypatch.setattr(map_predictor, "predict_mirrored", _unsure_where_bright)
    model = make_model(reader=reader, axes=axes, transpose=transpose)
    found = predicted(ours(model), tmp_path / "scans", tmp_path / "out")

    heatmap = sitk.ReadImage(str(found / "uncertainty" / "a_uncertainty.nii.gz"))
    assert heatmap.GetPixelID() == sitk.sitkFloat32
    written = sitk.ReadImage(str(tmp_path / "scans" / "a_0000.nii.gz"))  # as NIfTI rounds the directions
    assert heatmap.GetSize() == written.GetSize()
    for path in (found / "uncertainty" / "a_uncertainty.nii.gz", found / "a.nii.gz"):
        assert np.allclose(affine_of(path), affine_of(tmp_path / "scans" / "a_0000.nii.gz"), atol=1e-4)
    hot = sitk.GetArrayFromImage(heatmap) > 0.17
    # Where slices are resampled, too, a spot may grow by one of them.
    near_spots = ndimage.binary_dilation(spots, np.ones((3 if axes == 3 or transpose[0] else 1, 3, 3)))
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
    vertebrae = pd.read_csv(found / "uncertainty" / "confidence.csv")["volume_mm3"][1]
    voxels = (array(found / "a.nii.gz") == 2).sum()
    assert vertebrae == pytest.approx(voxels * 0.8 * 1.3 * 3.7, rel=1e-4)


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
    """Hardly more vertebrae than background where the image is bright, background for sure elsewhere."""
    bright = (image[:, :1] > 3).float()
    zero = torch.zeros_like(bright)
    logits = torch.cat([9 - 9.1 * bright, zero - 9, zero, zero - 9], 1)
    return Predicted(logits, logits, Sampled([logits], False))


@pytest.mark.parametrize("temperatures", [None, [2.0, 0.5, 1.5, 1.0]])
def test_maps_over_folds_are_their_mean_or_what_they_say_together_where_that_is_less_sure(
    make_model, temperatures
):
    model, scan = make_model(), image(1, 2, 20, 30)
    maps = []
    for folds in ((0,), (1,), (0, 1)):
        predictor = model.predictor(
            SpineSegDiffPredictor, folds, settings=PredictionSettings(save_uncertainty=True)
        )
        if temperatures:
            predictor.calibration = Calibration(temperatures, {})
        logits = predictor.predict_logits_from_preprocessed_data(scan)
        maps.append((predictor.maps.uncertainty, predictor.maps.stage1))
    p = temperature_scaled(logits.float().softmax(0).numpy(), np.array(temperatures or [1.0] * 4), False)
    together = -p * np.log(p)
    mean = (maps[0][0] + maps[1][0]) / 2
    assert (together > mean + 0.01).any()
    assert (together < mean - 0.01).any()
    assert np.allclose(maps[2][0], np.maximum(mean, together), atol=2e-3)  # nnU-Net adds up in float16
    assert np.allclose(maps[2][1], (maps[0][1] + maps[1][1]) / 2, atol=1e-5)


def test_an_array_in_memory_is_segmented_as_by_the_stock_predictor(make_model):
    """nnU-Net's way of predicting from Python, without files."""
    model, pixels = make_model(), image(1, 1, *SCAN[1:]).numpy()
    masks = [
        model.predictor(kind).predict_single_npy_array(pixels, {"spacing": [1.0, 1.0, 1.0]})
        for kind in (nnUNetPredictor, SpineSegDiffPredictor)
    ]
    assert masks[0].any()
    assert np.array_equal(*masks)


@pytest.mark.slow
def test_arrays_in_memory_get_maps_from_worker_processes(make_model, tmp_path):
    pixels = image(1, 1, *SCAN[1:]).numpy()
    properties = [{**ITK_PLACE, "spacing": [4.0, 1.25, 1.0]}] * 2
    (tmp_path / "out").mkdir()
    outputs = [str(tmp_path / "out" / name) for name in "ab"]
    ours(make_model()).predict_from_list_of_npy_arrays(
        [pixels] * 2, None, properties, outputs, 1, num_processes_segmentation_export=1
    )
    folder = tmp_path / "out" / "uncertainty"
    maps = {f"{name}_uncertainty{kind}.nii.gz" for name in "ab" for kind in ("", "_per_class")}
    assert {path.name for path in folder.iterdir()} == {".rows", "confidence.csv", *maps}
    assert set(pd.read_csv(folder / "confidence.csv")["case"]) == {"a", "b"}


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


def test_nothing_of_an_earlier_prediction_stays_with_a_new_mask(make_model, two_scans, tmp_path):
    model = make_model()
    output = predicted(ours(model), two_scans, tmp_path / "out")

    def predict_without_maps() -> None:
        again = model.predictor(SpineSegDiffPredictor, settings=PredictionSettings())
        again.predict_from_files_sequential(str(two_scans), str(output), False, True)

    away = tmp_path / "b_0000.nii.gz"
    (two_scans / away.name).rename(away)
    predict_without_maps()
    assert set(pd.read_csv(output / "uncertainty" / "confidence.csv")["case"]) == {"b"}
    away.rename(two_scans / away.name)
    predict_without_maps()
    assert not (output / "uncertainty").exists()
    assert not list(output.glob("*.npz"))
    assert len(list(output.glob("*.nii.gz"))) == 2
