"""A network that nnU-Net compiled for prediction gives what it gives without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partialmethod

import numpy as np
import pytest
import torch

from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings

from ..helpers.model_plans import image


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler"),
            ],
        ),
    ],
)
def test_nnunet_compile_changes_no_mask_and_no_map(make_model, monkeypatch, backend):
    """Two folds: the second one's weights must reach the compiled parts, too."""
    model, scan = make_model(), image(1, 2, 20, 30)
    settings = PredictionSettings(save_uncertainty=True)
    plain = model.predictor(SpineSegDiffPredictor, (0, 1), settings=settings)
    expected = plain.predict_logits_from_preprocessed_data(scan)
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend=backend))
    monkeypatch.setenv("nnUNet_compile", "true")
    compiled = model.predictor(SpineSegDiffPredictor, (0, 1), settings=settings)
    found = compiled.predict_logits_from_preprocessed_data(scan)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=5e-3)
    assert (found.argmax(0) == expected.argmax(0)).float().mean() > 0.995
    for name in ("uncertainty", "stage1"):
        before, after = (getattr(made.maps, name) for made in (plain, compiled))
        assert np.allclose(before, after, atol=5e-3)
