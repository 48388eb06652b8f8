"""Maps beside the logits of a sliding window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.inference.tiles import TileMaps

from ..helpers.model_plans import image


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
    assert unrefined.maps.uncertainty.shape == logits.shape
    predictor.predict_logits_from_preprocessed_data(scan)
    maps = predictor.maps
    assert maps.uncertainty.shape == maps.stage1.shape == logits.shape
    # nnU-Net adds up in float16, which is coarse where a Gaussian is nearly nothing.
    apart = np.abs(maps.stage1 - logits.float().numpy())
    assert np.median(apart) < 0.002
    assert (apart < 0.03).mean() > 0.97


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
            for dims in [(), (3,)]:  # as the model was trained
                steps = predictor.network.refine(torch.flip(tile, dims)).means
                means.append([torch.flip(s, dims) for s in steps])
            of_steps = [torch.stack(s).mean(0).softmax(1) for s in zip(*means, strict=True)]
            entropy = torch.stack([-p * p.log() for p in of_steps]).amax(0)[0]
            total[..., x : x + 24] += entropy * of_tile
            weights[..., x : x + 24] += of_tile
    assert np.allclose(predictor.maps.uncertainty[:, 0], total / weights, atol=1e-4)


def test_a_sliding_window_that_starts_again_counts_no_tile_twice():
    """As nnU-Net's does where a GPU has no memory left for the logits."""
    tiles = [(slice(None), slice(x, x + 4)) for x in (0, 2, 4)]
    maps = TileMaps(tiles, (8,), 1)
    for values in ((9.0, 9.0), (1.0, 2.0, 3.0)):
        assert list(maps) == tiles
        for value in values:
            maps.add([torch.full((1, 4), value)])
    assert maps.means()[0].tolist() == [[1, 1, 1.5, 1.5, 2.5, 2.5, 3, 3]]


def test_maps_are_made_again_where_the_prediction_is(make_model, monkeypatch):
    model, scan, settings = make_model(), image(1, 1, 16, 36), PredictionSettings(save_uncertainty=True)
    expected, predictor = (model.predictor(SpineSegDiffPredictor, settings=settings) for _ in range(2))
    expected.predict_logits_from_preprocessed_data(scan)
    predict, tiles = predictor._internal_maybe_mirror_and_predict, []

    def short_of_memory(x):
        tiles.append(x)
        if len(tiles) == 2:
            raise RuntimeError("CUDA out of memory")
        return predict(x)

    monkeypatch.setattr(predictor, "_internal_maybe_mirror_and_predict", short_of_memory)
    predictor.perform_everything_on_device = True
    predictor.predict_logits_from_preprocessed_data(scan)
    assert len(tiles) == 4
    assert np.array_equal(predictor.maps.uncertainty, expected.maps.uncertainty)
