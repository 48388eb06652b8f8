"""Exported models are installed and predicted with by nnU-Net alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice, put_back

from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
from nnunetv2_spinesegdiff.images.intensities import scale_intensities
from nnunetv2_spinesegdiff.sharing.bundled import DEFAULT, bundled_model
from nnunetv2_spinesegdiff.sharing.opening import open_model

from ..helpers.model_commands import DATASET, TRAINER, Workspace, masks_of
from . import one_process


def by_nnunet_alone(archive: Path, images: Path, out: Path, model: str) -> Path:
    """Install and predict in a process where only nnUNet_results is set, and nothing of ours."""
    results = out / "results"
    results.mkdir(parents=True)
    ours = ("nnUNet_", "spinesegdiff")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    install = f"nnUNetv2_install_pretrained_model_from_zip {archive}"
    predict = f"nnUNetv2_predict -i {images} -o {out / 'masks'} {model} -device cpu -npp 0 -nps 0"
    done = subprocess.run(
        [sys.executable, str(one_process.__file__), install, predict],
        env={**environment, "nnUNet_results": str(results)},
        capture_output=True,
        text=True,
        timeout=900,
        cwd=results,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    (installed,) = results.glob("*/*")
    return installed


def test_stock_prediction_of_an_exported_model_gives_the_models_masks(
    trained: Workspace, two_cases: Path, refined: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "model.zip"
    told = trained.run(f"spinesegdiff export -m {trained.results()} -o {archive}")
    assert f"{archive}: " in told
    assert str(trained.root).encode() not in archive.read_bytes()
    model = f"-d {DATASET} -c 2d -f 0 -tr {TRAINER}"
    installed = by_nnunet_alone(archive, two_cases, tmp_path / "stock", model)
    assert installed.name == trained.results().name
    assert masks_of(tmp_path / "stock" / "masks") == masks_of(refined)
    trained.run(f"spinesegdiff export -m {installed} -o {tmp_path / 'again.zip'}")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert open_model(archive, tmp_path).sha256 == open_model(installed, tmp_path).sha256


def test_stock_prediction_with_the_bundled_model_gives_the_masks_of_segment(tmp_path: Path) -> None:
    bundled, images = bundled_model(DEFAULT), tmp_path / "images"
    scan = sitk.ReadImage(str(example_scans()[1]))
    view = extract_slice(scale_intensities(scan))
    images.mkdir()
    sitk.WriteImage(view.image, str(images / "scan_0000.nii.gz"))
    manifest = bundled.manifest
    folds = " ".join(manifest.folds)
    model = f"-d {manifest.dataset} -c 2d -f {folds} -tr {manifest.trainer} -p {manifest.plans}"
    by_nnunet_alone(bundled.path, images, tmp_path / "stock", model)
    mask = sitk.ReadImage(str(tmp_path / "stock" / "masks" / "scan.nii.gz"))
    placed = sitk.GetArrayFromImage(put_back(sitk.GetArrayFromImage(mask), view))
    with SpineSegmenter(device="cpu") as segmenter:
        ours = sitk.GetArrayFromImage(segmenter.segment(scan).mask)
    assert np.count_nonzero(placed) > 0
    assert np.array_equal(placed, ours)
