"""Slices that lie closer together than the pixels of a case, as in 3D SPACE, CUBE and VISTA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.preflight import check_planned
from nnunetv2_spinesegdiff.stored import check_sagittal
from nnunetv2_spinesegdiff.training.sagittal import nnUNetTrainerStage1Sagittal

from ..helpers.converting import run
from ..helpers.model_commands import Workspace
from ..helpers.spider_series import write_series


def planned(tmp_path: Path, apart_mm: float, slices: str) -> dict:
    """The plans of nnU-Net's own command for five series that were converted."""
    for patient in range(1, 6):
        write_series(tmp_path / "spider", f"{patient}_t1", apart_mm=apart_mm, seed=patient)
    run(tmp_path / "spider", tmp_path, slices=slices)
    Workspace(tmp_path).run("nnUNetv2_plan_and_preprocess -d 501 -c 2d --no_pp -np 1 -npfp 1")
    (plans,) = (tmp_path / "preprocessed").glob("*/nnUNetPlans.json")
    return json.loads(plans.read_text())


def case(tmp_path: Path, name: str) -> Any:
    (path,) = (tmp_path / "raw").glob(f"*/{name}.nii.gz")
    return nib.load(path)


@pytest.mark.parametrize("apart_mm", [0.9, pytest.param(4.0, marks=pytest.mark.slow)])
def test_single_slices_are_planned_as_they_lie(apart_mm, tmp_path):
    plans = planned(tmp_path, apart_mm, "middle")
    check_sagittal(plans, "2d")
    assert plans["transpose_forward"] == [0, 1, 2]
    assert min(plans["configurations"]["2d"]["patch_size"]) > 32
    image, label = (
        case(tmp_path, name) for name in ("imagesTr/SPIDER_001_t1_0000", "labelsTr/SPIDER_001_t1")
    )
    assert np.isclose(image.header.get_zooms()[2], max(apart_mm, 1.0))
    assert np.array_equal(image.affine, label.affine)
    # The third of five slices, the first of which lies 10 mm to the left.
    assert np.isclose(image.affine[0, 3], 2 * apart_mm - 10)


def test_volumes_of_thin_slices_are_refused_by_the_trainers(tmp_path, monkeypatch):
    plans = planned(tmp_path, 0.9, "all")
    assert plans["transpose_forward"] == [1, 0, 2]
    said = "planned 2d slices across the sagittal ones.*--slices middle"
    with pytest.raises(UserError, match=said):
        nnUNetTrainerStage1Sagittal(plans, "2d", 0, {}, torch.device("cpu"))
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    with pytest.raises(UserError, match=said):
        check_planned(plans["dataset_name"], "2d", "nnUNetPlans")
