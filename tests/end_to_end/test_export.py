"""A trained model is exported, installed, and predicted with by nnU-Net alone."""

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
from nnunetv2_spinesegdiff.sharing.export import export_model
from nnunetv2_spinesegdiff.sharing.opening import open_model

from .conftest import DATASET, TRAINER, Workspace

INSTALL = "from nnunetv2.model_sharing.entry_points import install_from_zip_entry_point as main"
PREDICT = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as main"


def by_nnunet(entry_point: str, words: str, results: Path) -> None:
    """Run one of nnU-Net's own commands where only nnUNet_results is set, and nothing of ours."""
    ours = ("nnUNet_", "spinesegdiff")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-c", f"{entry_point}; main()", *words.split()],
        env={**environment, "nnUNet_results": str(results)},
        capture_output=True,
        text=True,
        timeout=900,
        cwd=results,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_stock_prediction_of_an_exported_model_gives_the_models_masks(
    trained: Workspace, two_cases: Path, refined: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("nnUNet_extTrainer", "")  # the export sets it, and it is to be as it was
    archive = export_model(trained.results(), tmp_path / "model.zip")
    assert str(trained.root).encode() not in archive.read_bytes()
    results = tmp_path / "fresh"
    results.mkdir()
    by_nnunet(INSTALL, str(archive), results)
    (installed,) = results.glob("*/*")
    assert installed.relative_to(results) == trained.results().relative_to(trained.root / "results")
    model = f"-d {DATASET} -c 2d -f 0 -tr {TRAINER} -device cpu -npp 1 -nps 1"
    by_nnunet(PREDICT, f"-i {two_cases} -o {tmp_path / 'out'} {model}", results)
    expected = sorted(refined.glob("*.nii.gz"))
    assert len(expected) == 2
    for path in expected:
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert export_model(installed, tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert open_model(archive, tmp_path).sha256 == open_model(installed, tmp_path).sha256


def test_stock_prediction_with_the_bundled_model_gives_the_masks_of_segment(tmp_path: Path) -> None:
    model = bundled_model(DEFAULT)
    results, images = tmp_path / "results", tmp_path / "images"
    results.mkdir()
    images.mkdir()
    by_nnunet(INSTALL, str(model.path), results)
    scans = {path.stem: sitk.ReadImage(str(path)) for path in example_scans()}
    views = {name: extract_slice(scale_intensities(scan)) for name, scan in scans.items()}
    for name, view in views.items():
        sitk.WriteImage(view.image, str(images / f"{name}_0000.nii.gz"))
    manifest = model.manifest
    words = f"-d {manifest.dataset} -c 2d -f {' '.join(manifest.folds)} -tr {manifest.trainer}"
    words += f" -p {manifest.plans} -device cpu -npp 1 -nps 1"
    by_nnunet(PREDICT, f"-i {images} -o {tmp_path / 'out'} {words}", results)
    with SpineSegmenter(device="cpu") as segmenter:
        for name, scan in scans.items():
            stock = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"{name}.nii.gz")))
            placed = sitk.GetArrayFromImage(put_back(stock, views[name]))
            ours = sitk.GetArrayFromImage(segmenter.segment(scan).mask)
            assert np.count_nonzero(placed) > 0
            assert np.array_equal(placed, ours)
