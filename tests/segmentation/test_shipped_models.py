"""The models that ship with the package: each opens, states its license, and segments without any set-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
from nnunetv2_spinesegdiff.labels import CLASSES
from nnunetv2_spinesegdiff.segmentation.model import SliceModel
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings
from nnunetv2_spinesegdiff.sharing.bundled import DEFAULT, FOLDER, BundledModel, bundled_models
from nnunetv2_spinesegdiff.sharing.card import NOT_STATED
from nnunetv2_spinesegdiff.sharing.opening import open_model


@pytest.fixture
def no_variables(monkeypatch):
    for variable in [name for name in os.environ if name.startswith("nnUNet_")]:
        monkeypatch.delenv(variable)


def test_the_default_model_ships():
    assert DEFAULT in [model.name for model in bundled_models()]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.zip")), ids=lambda path: path.stem)
def test_every_model_that_ships_is_small_whole_and_attributed(path, tmp_path):
    assert path.stat().st_size < 50e6
    model = BundledModel.read(path)
    assert model.license != NOT_STATED
    for attribution in ("van der Graaf", "10.5281/zenodo.10159290", "CC BY 4.0"):
        assert attribution in model.card
    opened = open_model(path, tmp_path)
    assert opened.sha256 == model.manifest.sha256
    SliceModel(opened, SegmentationSettings(), torch.device("cpu"))


NO_NETWORK = """
import runpy, socket, sys

def refused(*_):
    raise AssertionError("asked for a network")

socket.socket.connect = refused
sys.argv = ["spinesegdiff", *sys.argv[1:]]
runpy.run_module("nnunetv2_spinesegdiff", run_name="__main__")
"""


def test_scans_are_segmented_without_a_model_variables_or_network(tmp_path, no_variables):
    scans = example_scans()
    words = ["segment", "-i", str(scans[0].parent), "-o", str(tmp_path / "out"), "-device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())["model"]
    assert (record["name"], record["bundled"]) == (DEFAULT, True)
    with SpineSegmenter(device="cpu") as segmenter:
        for scan in scans:
            mask = sitk.ReadImage(str(tmp_path / "out" / f"{scan.stem}_seg.nii.gz"))
            assert set(np.unique(sitk.GetArrayFromImage(mask))) == set(CLASSES.values())
            result = segmenter.segment(scan)
            assert np.array_equal(sitk.GetArrayFromImage(result.mask), sitk.GetArrayFromImage(mask))
