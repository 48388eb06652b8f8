"""A trained model so small that predicting with it takes a moment, and scans for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_spinesegdiff.environment import TRAINERS
from nnunetv2_spinesegdiff.training import trainers

from ..small_plans import LABELS, build_any, small_plans

RESAMPLING = {
    "data": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "seg": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "probabilities": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
}


@dataclass(frozen=True)
class Model:
    """A folder as nnU-Net's training leaves it; `labels` are those of its dataset.json."""

    folder: Path
    labels: dict[str, Any]

    def predictor(self, kind: type, folds: tuple[int, ...] = (0,), **kwargs: Any) -> Any:
        """A predictor of that class, ready to predict on the CPU."""
        made = kind(device=torch.device("cpu"), allow_tqdm=False, **kwargs)
        made.initialize_from_trained_model_folder(str(self.folder), folds)
        return made


def whole_plans(
    reader: str = "SimpleITKIO",
    axes: int = 2,
    transpose: tuple[int, ...] = (0, 1, 2),
    residual: bool = False,
) -> dict[str, Any]:
    """Small plans with all that preprocessing and export read."""
    plans = small_plans(axes, residual=residual)
    configuration = plans["configurations"]["small"]
    for name, kwargs in RESAMPLING.items():
        configuration[f"resampling_fn_{name}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{name}_kwargs"] = kwargs
    return {
        **plans,
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": np.argsort(transpose).tolist(),
        "foreground_intensity_properties_per_channel": {"0": {}},
    }


def write_model(
    folder: Path,
    labels: dict[str, Any] | None = None,
    reader: str = "SimpleITKIO",
    axes: int = 2,
    transpose: tuple[int, ...] = (0, 1, 2),
    trainer: str = "nnUNetTrainerSpineSegDiff",
    residual: bool = False,
    **more: Any,
) -> Model:
    """A `Model` of two folds in a new folder; `more` goes into its dataset.json."""
    labels = LABELS if labels is None else labels
    regions = any(isinstance(value, list) for value in labels.values())
    heads = len([n for n in labels if n not in ("background", "ignore")]) + (0 if regions else 1)
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(whole_plans(reader, axes, transpose, residual)))
    dataset = {"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii.gz", **more}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for fold in (0, 1):
        kind = getattr(trainers, trainer)
        network = build_any(axes, residual=residual, heads=heads, seed=3 + fold, trainer=kind)
        network.heads_are_regions.fill_(regions)
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer,
            "init_args": {"configuration": "small"},
            "inference_allowed_mirroring_axes": (0, 1),
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return Model(folder, labels)


@pytest.fixture
def make_model(tmp_path, monkeypatch):
    """Makes a `Model`: make_model(labels=..., trainer=..., **more_of_dataset_json), see `write_model`."""
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    return partial(write_model, tmp_path / "model")


@pytest.fixture
def two_scans(tmp_path) -> Path:
    """Two scans of three slices each, "a" and "b", larger than the network's patch."""
    (tmp_path / "scans").mkdir()
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        image = sitk.GetImageFromArray(rng.normal(100, 20, (3, 25, 40)).astype(np.float32))
        image.SetSpacing((1.0, 1.25, 4.0))
        sitk.WriteImage(image, str(tmp_path / "scans" / f"{name}_0000.nii.gz"))
    return tmp_path / "scans"
