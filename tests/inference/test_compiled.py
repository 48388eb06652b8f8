"""A network that nnU-Net compiled for prediction gives what it gives without."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings

from ..small_plans import image


@pytest.mark.filterwarnings("ignore")
def test_its_parts_are_compiled_and_its_numbers_stay(make_model, monkeypatch):
    model, scan = make_model(), image(1, 1, 20, 30)
    settings = PredictionSettings(save_uncertainty=True)
    expected = model.predictor(SpineSegDiffPredictor, settings=settings)
    logits = expected.predict_logits_from_preprocessed_data(scan)
    plain, compiled = nnUNetPredictor.initialize_from_trained_model_folder, []

    def compiling(self, *args):
        """As nnU-Net does it with nnUNet_compile on CUDA."""
        plain(self, *args)
        self.network = torch.compile(self.network)

    monkeypatch.setattr(nnUNetPredictor, "initialize_from_trained_model_folder", compiling)
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda part: compiled.append(type(part).__name__)
    )  # no compiler is asked for: what it makes of each part is torch's own concern
    predictor = model.predictor(SpineSegDiffPredictor, settings=settings)
    found = predictor.predict_logits_from_preprocessed_data(scan)
    assert compiled == ["PlainConvUNet", "DenoisingUNet"]
    assert torch.equal(found, logits)
