"""Exported models are installed and predicted with by nnU-Net alone."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import SliceView, extract_slice, put_back

from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
from nnunetv2_spinesegdiff.images.intensities import scale_intensities
from nnunetv2_spinesegdiff.sharing.bundled import DEFAULT, bundled_model
from nnunetv2_spinesegdiff.sharing.opening import open_model

from ..helpers.model_commands import DATASET, TRAINER, Workspace, masks_of
from . import one_process

SCAN = example_scans()[1]


@dataclass(frozen=True)
class Stock:
    """What nnU-Net alone made of two zips.

    Attributes:
        archive: the zip of the trained model.
        view: the middle slice of the example scan.
        out: with `results`, and the folders `trained` and `bundled` of masks.
    """

    archive: Path
    view: SliceView
    out: Path


@pytest.fixture(scope="module")
def stock(trained: Workspace, two_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """Install and predict in a process where only nnUNet_results is set, and nothing of ours."""
    out = tmp_path_factory.mktemp("stock")
    archive, results, images = (out / name for name in ("model.zip", "results", "images"))
    told = trained.run(f"spinesegdiff export -m {trained.results()} -o {archive}")
    assert f"{archive}: " in told
    view = extract_slice(scale_intensities(sitk.ReadImage(str(SCAN))))
    for folder in (results, images):
        folder.mkdir()
    sitk.WriteImage(view.image, str(images / "scan_0000.nii.gz"))
    bundled = bundled_model(DEFAULT)
    manifest = bundled.manifest
    folds = " ".join(manifest.folds)
    install = "nnUNetv2_install_pretrained_model_from_zip"
    predict = "nnUNetv2_predict -device cpu -npp 0 -nps 0"
    commands = [
        f"{install} {archive}",
        f"{install} {bundled.path}",
        f"{predict} -i {two_cases} -o {out / 'trained'} -d {DATASET} -c 2d -f 0 -tr {TRAINER}",
        f"{predict} -i {images} -o {out / 'bundled'} -d {manifest.dataset} -c 2d -f {folds} "
        f"-tr {manifest.trainer} -p {manifest.plans}",
    ]
    ours = ("nnUNet_", "spinesegdiff")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        [sys.executable, str(one_process.__file__), *commands],
        env={**environment, "nnUNet_results": str(results)},
        capture_output=True,
        text=True,
        timeout=900,
        cwd=results,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return Stock(archive, view, out)


def test_stock_prediction_of_an_exported_model_gives_the_models_masks(
    trained: Workspace, stock: Stock, refined: Path, tmp_path: Path
) -> None:
    assert str(trained.root).encode() not in stock.archive.read_bytes()
    (installed,) = (stock.out / "results").glob(f"*/{trained.results().name}")
    assert masks_of(stock.out / "trained") == masks_of(refined)
    trained.run(f"spinesegdiff export -m {installed} -o {tmp_path / 'again.zip'}")
    assert (tmp_path / "again.zip").read_bytes() == stock.archive.read_bytes()
    assert open_model(stock.archive, tmp_path).sha256 == open_model(installed, tmp_path).sha256


def test_stock_prediction_with_the_bundled_model_gives_the_masks_of_segment(stock: Stock) -> None:
    mask = sitk.ReadImage(str(stock.out / "bundled" / "scan.nii.gz"))
    placed = sitk.GetArrayFromImage(put_back(sitk.GetArrayFromImage(mask), stock.view))
    with SpineSegmenter(device="cpu") as segmenter:
        ours = sitk.GetArrayFromImage(segmenter.segment(sitk.ReadImage(str(SCAN))).mask)
    assert np.count_nonzero(placed) > 0
    assert np.array_equal(placed, ours)
