"""Maps beside the logits of a sliding window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from nnunetv2_spinesegdiff.inference import predictor as predictor_module
from nnunetv2_spinesegdiff.inference.mirrored import predict_mirrored
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.inference.tiles import TileMaps

from ..small_plans import image


def test_it_is_a_weighted_mean_of_the_tiles_over_every_voxel():
    rng = np.random.default_rng(0)
    size, patch = (2, 9, 11), (5, 6)
    places = [(z, y, x) for z in range(2) for y in (0, 2, 4) for x in (0, 3, 5)]
    tiles = [(slice(None), z, slice(y, y + 5), slice(x, x + 6)) for z, y, x in places]
    weights = torch.from_numpy(rng.uniform(0.1, 1, patch).astype(np.float32))
    maps = torch.from_numpy(rng.normal(0, 1, (len(tiles), 3, *patch)).astype(np.float32))
    tile_maps = TileMaps(tiles, torch.Size(size), weights, torch.device("cpu"))
    for of_tile in maps:
        tile_maps.add([of_tile])
    (found,) = tile_maps.means()
    for z, y, x in np.ndindex(size):
        inside = [
            (weights[y - b, x - a], maps[i, :, y - b, x - a])
            for i, (c, b, a) in enumerate(places)
            if c == z and 0 <= y - b < 5 and 0 <= x - a < 6
        ]
        expected = torch.stack([w * m for w, m in inside]).sum(0) / sum(w for w, _ in inside)
        assert torch.allclose(found[:, z, y, x], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [(2, (1, 2, 25, 40)), (2, (1, 1, 10, 50)), (3, (1, 20, 21, 30)), (3, (1, 9, 20, 25))],
    ids=["2d larger", "2d padded", "3d larger", "3d padded"],
)
def test_through_the_predictor_maps_lie_under_their_logits(make_model, axes, shape):
    scan, model = image(*shape), make_model(axes=axes)
    predictor, unrefined = (
        model.predictor(
            SpineSegDiffPredictor, settings=PredictionSettings(save_uncertainty=True, refine=refine)
        )
        for refine in (True, False)
    )
    stock = model.predictor(nnUNetPredictor)
    stock.network.refine_predictions = False
    logits = unrefined.predict_logits_from_preprocessed_data(scan)
    assert torch.equal(logits, stock.predict_logits_from_preprocessed_data(scan))
    assert unrefined._current.uncertainty.shape == logits.shape
    predictor.predict_logits_from_preprocessed_data(scan)
    maps = predictor._current
    assert maps.uncertainty.shape == maps.stage1.shape == logits.shape
    # nnU-Net adds up in float16, which is coarse where a Gaussian is nearly nothing.
    apart = np.abs(maps.stage1 - logits.float().numpy())
    assert np.median(apart) < 0.002
    assert (apart < 0.03).mean() > 0.97


def test_a_window_that_ran_out_of_memory_leaves_nothing_in_the_maps(make_model, monkeypatch):
    """nnU-Net begins again with results on the CPU where a GPU is full."""
    predictor = make_model().predictor(
        SpineSegDiffPredictor, settings=PredictionSettings(save_uncertainty=True)
    )
    scan = image(1, 1, 16, 50)
    predictor.predict_logits_from_preprocessed_data(scan)
    expected, slicers = (
        predictor._current.uncertainty,
        predictor._internal_get_sliding_window_slicers((1, 16, 50)),
    )
    assert len(slicers) > 2
    calls: list[int] = []

    def third_fails(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict_mirrored(*args, **kwargs)

    monkeypatch.setattr(predictor_module, "predict_mirrored", third_fails)
    with pytest.raises(torch.OutOfMemoryError):
        predictor._internal_predict_sliding_window_return_logits(scan, slicers, False)
    predictor._internal_predict_sliding_window_return_logits(scan, slicers, False)
    assert np.array_equal(predictor._tile_maps.means()[0], expected)


@pytest.mark.parametrize("use_gaussian", [True, False])
def test_the_uncertainty_of_overlapping_tiles_is_their_mean(make_model, use_gaussian):
    scan = image(1, 1, 16, 36)
    predictor = make_model().predictor(
        SpineSegDiffPredictor,
        settings=PredictionSettings(save_uncertainty=True),
        use_gaussian=use_gaussian,
    )
    predictor.predict_logits_from_preprocessed_data(scan)
    cpu = torch.device("cpu")
    gaussian = compute_gaussian((16, 24), sigma_scale=1 / 8, value_scaling_factor=10, device=cpu)
    of_tile = gaussian.float() if use_gaussian else torch.ones(16, 24)
    total, weights = torch.zeros(4, 16, 36), torch.zeros(16, 36)
    with torch.inference_mode():
        for x in (0, 12):
            tile = scan[:, :, :, x : x + 24].swapaxes(0, 1)[0][None]
            means: list = []
            for dims in [(), (2,), (3,), (2, 3)]:
                steps = predictor.network.refine(torch.flip(tile, dims)).means
                means.append([torch.flip(s, dims) for s in steps])
            of_steps = [torch.stack(s).mean(0).softmax(1) for s in zip(*means, strict=True)]
            entropy = torch.stack([-p * p.log() for p in of_steps]).amax(0)[0]
            total[..., x : x + 24] += entropy * of_tile
            weights[..., x : x + 24] += of_tile
    assert np.allclose(predictor._current.uncertainty[:, 0], total / weights, atol=1e-4)
