"""The models that ship with the package: each opens, states its license, and segments without any set-up."""

from __future__ import annotations

import pytest
import torch

from nnunetv2_spinesegdiff.segmentation.model import SliceModel
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings
from nnunetv2_spinesegdiff.sharing.bundled import DEFAULT, FOLDER, BundledModel, bundled_models
from nnunetv2_spinesegdiff.sharing.card import NOT_STATED
from nnunetv2_spinesegdiff.sharing.opening import open_model


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.zip")), ids=lambda path: path.stem)
def test_every_model_that_ships_is_small_whole_and_attributed(path, tmp_path):
    assert DEFAULT in [model.name for model in bundled_models()]
    assert path.stat().st_size < 50e6
    model = BundledModel.read(path)
    assert model.license != NOT_STATED
    for attribution in ("van der Graaf", "10.5281/zenodo.10159290", "CC BY 4.0"):
        assert attribution in model.card
    opened = open_model(path, tmp_path)
    assert opened.sha256 == model.manifest.sha256
    SliceModel(opened, SegmentationSettings(), torch.device("cpu"))
