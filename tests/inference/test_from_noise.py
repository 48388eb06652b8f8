"""Models without a stage 1: predicted, mapped and calibrated as the two-stage ones, and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings

from ..helpers.model_folder import SCAN

MODELS = ("nnUNetTrainerDiffUNet_n2_S2", "nnUNetTrainerIISDM_n3_S3", "nnUNetTrainerSpineSegDiffNoIE_n2_S1")
REGIONS = {"background": 0, "spine": [1, 2, 3], "column": [2, 3], "ivd": 3}
HIGHEST = {"nnUNetTrainerIISDM_n3_S3": 0.25}
"""Of the maps: a variance of numbers in [0, 1], or an entropy of at most 1/e."""


def predicted(model: Any, scans: Path, output: Path, **settings: Any) -> SpineSegDiffPredictor:
    output.mkdir()
    made = model.predictor(SpineSegDiffPredictor, settings=PredictionSettings(**settings))
    made.predict_from_files_sequential(str(scans), str(output))
    return made


@pytest.mark.parametrize(
    ("trainer", "labels"), [(MODELS[0], None), (MODELS[0], REGIONS), (MODELS[1], None), (MODELS[2], REGIONS)]
)
def test_masks_are_those_of_the_stock_predictor_and_maps_lie_beside_them(
    trainer, labels, make_model, two_scans, tmp_path
):
    more = {"regions_class_order": [1, 2, 3]} if labels else {}
    model = make_model(labels=labels, trainer=trainer, **more)
    predicted(model, two_scans, tmp_path / "ours", save_uncertainty=True, uncertainty_map="paper")
    (tmp_path / "stock").mkdir()
    stock = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(model.folder), (0,))
    stock.predict_from_files_sequential(str(two_scans), str(tmp_path / "stock"))
    for case in "ab":
        mask = (tmp_path / "ours" / f"{case}.nii.gz").read_bytes()
        assert mask == (tmp_path / "stock" / f"{case}.nii.gz").read_bytes()
        image = sitk.ReadImage(str(tmp_path / "ours" / "uncertainty" / f"{case}_uncertainty.nii.gz"))
        heatmap = sitk.GetArrayFromImage(image)
        assert heatmap.shape == SCAN
        assert heatmap.min() >= 0
        assert 0.001 < heatmap.max() <= HIGHEST.get(trainer, 1 / np.e) + 1e-6
    with (tmp_path / "ours" / "uncertainty" / "confidence.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert all(row["agreement"] == "" for row in rows)


def test_folds_of_an_ensemble_of_masks_are_averaged_and_no_entropy_is_mixed_in(make_model, two_scans):
    model = make_model(trainer="nnUNetTrainerIISDM_n3_S3")
    image = torch.randn(1, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    maps = []
    for folds in ((0,), (1,), (0, 1)):
        settings = PredictionSettings(save_uncertainty=True)
        predictor = model.predictor(SpineSegDiffPredictor, folds, settings=settings)
        predictor.predict_logits_from_preprocessed_data(image)
        maps.append(predictor.maps.uncertainty)
        assert predictor.maps.stage1 is None
    np.testing.assert_allclose(maps[2], (maps[0] + maps[1]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"refine": False}, "^no_refine: "),
        ({"preset": "fast"}, "^preset: "),
        ({"changes": {"t_start": 5}}, "^t_start 5: "),
    ],
)
def test_what_belongs_to_a_refiner_is_refused_in_one_line(settings, named, make_model):
    with pytest.raises(UserError, match=named) as refused:
        make_model(trainer=MODELS[0]).predictor(
            SpineSegDiffPredictor, settings=PredictionSettings(**settings)
        )
    assert "\n" not in str(refused.value)
    assert "from noise" in str(refused.value)
