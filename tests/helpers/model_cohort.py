"""Cohorts of made-up spines, segmented by a stand-in for the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_spinesegdiff.segmentation.cohort import ModelChoice, segment_cohort
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings

from .model_spine import spine, spine_labels

CHOICE = ModelChoice(Path("model"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the run's own record, by its name; hidden ones, too."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(folder)): without_seconds(path) for path in files}


def without_seconds(path: Path) -> bytes:
    if path.suffix != ".json" or ".part" in path.suffixes:
        return path.read_bytes()
    return json.dumps({**json.loads(path.read_text()), "seconds": 0}).encode()


def even_scan() -> sitk.Image:
    rng = np.random.default_rng(0)
    values = rng.integers(900, 1000, spine_labels().shape)
    values[:, :40] = rng.integers(0, 60, values[:, :40].shape)  # air
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(spine())
    return sitk.Cast(image, sitk.sitkInt16)


def run(scans: Path, out: Path, **more):
    return segment_cohort(scans, out, CHOICE, more.pop("settings", SegmentationSettings()), **more)
