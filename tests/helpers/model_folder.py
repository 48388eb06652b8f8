"""A very small trained model, and scans for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from nnunetv2_spinesegdiff.training import trainers

from .model_plans import LABELS, build_any, whole_plans

SCAN = (2, 18, 28)
"""Voxels of a scan: slices, rows, columns."""


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
            "inference_allowed_mirroring_axes": (1,),
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return Model(folder, labels)


def write_scans(folder: Path) -> Path:
    """Two scans of two slices each, "a" and "b", larger than the network's patch."""
    folder.mkdir()
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        image = sitk.GetImageFromArray(rng.normal(100, 20, SCAN).astype(np.float32))
        image.SetSpacing((1.0, 1.25, 4.0))
        sitk.WriteImage(image, str(folder / f"{name}_0000.nii.gz"))
    return folder


class Malicious:
    """Pickled code that leaves a file behind where it is executed."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)
