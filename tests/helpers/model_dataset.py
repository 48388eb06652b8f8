"""A preprocessed dataset of a few tiny cases, and the validation predictions of its stock folds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy import ndimage

from nnunetv2_spinesegdiff.training import trainers
from nnunetv2_spinesegdiff.training.presegment import Stock, find_stock

from .model_plans import LABELS, whole_plans

TRAINER = "nnUNetTrainerStage1"
CASES = ("a", "b", "c", "d")
SPLITS = [{"train": ["c", "d"], "val": ["a", "b"]}, {"train": ["a", "b"], "val": ["c", "d"]}]

MakeLogits = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""The preprocessed truth (Z, Y, X), -1 outside of the image's content -> logits (K, Z, Y, X)."""


@dataclass(frozen=True)
class Small:
    """nnU-Net's folders of one dataset.

    Attributes:
        root: holds nnUNet_preprocessed and nnUNet_results.
        plans_json, dataset_json: content of the preprocessed dataset's files.
        logits: case to what its fold predicts, on the preprocessed grid.
    """

    root: Path
    plans_json: dict[str, Any]
    dataset_json: dict[str, Any]
    logits: dict[str, np.ndarray]

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed" / self.plans_json["dataset_name"]

    @property
    def results(self) -> Path:
        return self.root / "nnUNet_results" / self.plans_json["dataset_name"]

    @property
    def plans(self) -> PlansManager:
        return PlansManager(self.plans_json)

    @property
    def model(self) -> Path:
        return self.results / f"{TRAINER}__smallPlans__small"

    @property
    def cases_folder(self) -> Path:
        return self.preprocessed / "smallPlans_small"

    def stock(self, trainer: str | None = None) -> Stock:
        return find_stock(self.results, self.preprocessed, "small", "smallPlans", trainer)

    def trainer(self, name: str, fold: Any = 0, module: Any = trainers) -> Any:
        """A trainer as `nnUNetv2_train` makes it from the files of the preprocessed dataset."""
        plans, dataset_json = (
            json.loads((self.preprocessed / f"{part}.json").read_text()) for part in ("smallPlans", "dataset")
        )
        torch.manual_seed(0)
        plans["continue_training"] = False
        return getattr(module, name)(plans, "small", fold, dataset_json, torch.device("cpu"))

    def load(self, case: str, presegmentations: Path | None = None) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Image, truth, presegmentation and properties, from nnU-Net's loader."""
        segmentations = None if presegmentations is None else str(presegmentations)
        dataset = nnUNetDatasetBlosc2(str(self.cases_folder), [case], segmentations)
        return dataset.load_case(case)


def confused(truth: np.ndarray, rng: np.random.Generator, heads: int = 4) -> np.ndarray:
    """Smooth logits, independent of the truth."""
    noise = rng.normal(size=(heads, *truth.shape))
    smooth = ndimage.gaussian_filter(noise, (0, *[min(4, n / 4) for n in truth.shape]), mode="nearest")
    return (6 * smooth / smooth.std()).astype(np.float32)


def as_in_truth(truth: np.ndarray, rng: np.random.Generator, heads: int = 4) -> np.ndarray:
    """Logits of the truth itself; of the background where it is unknown (-1, or an ignore label)."""
    return np.stack([20.0 * (np.where(truth >= heads, 0, truth).clip(0) == k) for k in range(heads)]).astype(
        np.float32
    )


def make_small(
    root: Path,
    *,
    axes: int = 2,
    transpose: tuple[int, ...] = (0, 1, 2),
    spacing: Sequence[float] | None = None,
    shape: tuple[int, int, int] = (1, 18, 26),
    scan_spacing: Sequence[float] = (4.0, 1.0, 1.0),
    labels: Mapping[str, Any] = LABELS,
    make_logits: MakeLogits = confused,
    cases: Sequence[str] = CASES,
    splits: list[dict[str, list[str]]] = SPLITS,
    checkpoint: Callable[[Small, int, Path], None] | None = None,
    **more: Any,
) -> Small:
    """Preprocess made-up scans with a black margin, and export predictions of every fold as nnU-Net does.

    Args:
        spacing: of the network's grid; 1 everywhere by default.
        shape, scan_spacing: of the scans, in the reader's order.
        checkpoint: writes that of one fold; a few bytes by default.
        more: of the dataset.json.
    """
    plans_json = whole_plans(axes=axes, transpose=transpose)
    if spacing is not None:
        plans_json["configurations"]["small"]["spacing"] = list(spacing)
    dataset_json = {
        "channel_names": {"0": "MRI"},
        "labels": dict(labels),
        "file_ending": ".nii.gz",
        "numTraining": len(cases),
        **more,
    }
    small = Small(root, plans_json, dataset_json, {})
    small.cases_folder.mkdir(parents=True)
    contents = {"smallPlans": plans_json, "dataset": dataset_json, "dataset_fingerprint": {"spacings": []}}
    for name, content in {**contents, "splits_final": splits}.items():
        (small.preprocessed / f"{name}.json").write_text(json.dumps(content))
    rng = np.random.default_rng(0)
    preprocessed = {case: preprocess(small, case, shape, scan_spacing, rng) for case in cases}
    for fold, split in enumerate(splits):
        path = small.model / f"fold_{fold}" / "checkpoint_final.pth"
        path.parent.mkdir(parents=True)
        (checkpoint or write_bytes)(small, fold, path)
        for case in split["val"]:
            properties, truth = preprocessed[case]
            small.logits[case] = make_logits(truth, rng)
            export(small, case, fold, properties)
    return small


def write_bytes(small: Small, fold: int, path: Path) -> None:
    path.write_bytes(b"weights of fold %d" % fold)


def preprocess(
    small: Small,
    case: str,
    shape: tuple[int, int, int],
    scan_spacing: Sequence[float],
    rng: np.random.Generator,
) -> tuple[dict[str, Any], np.ndarray]:
    """Write one preprocessed case: noise in a black margin, and a box of every label."""
    configuration = small.plans.get_configuration("small")
    scan = np.zeros((1, *shape), np.float32)
    scan[:, :, 3:-1, 2:-2] = rng.normal(100, 20, scan[:, :, 3:-1, 2:-2].shape)
    truth = np.zeros((1, *shape), np.int16)
    for label in range(1, 1 + max(v for v in small.dataset_json["labels"].values() if isinstance(v, int))):
        y, x = rng.integers(3, shape[1] - 7), rng.integers(2, shape[2] - 8)
        truth[0, :, y : y + 6, x : x + 6] = label
    properties = {
        "spacing": list(scan_spacing),
        "sitk_stuff": {
            "spacing": list(scan_spacing)[::-1],
            "origin": (0.0, 0.0, 0.0),
            "direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        },
    }
    data, seg, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        scan, truth, properties, small.plans, configuration, small.dataset_json
    )
    nnUNetDatasetBlosc2.save_case(
        data.astype(np.float32),
        seg.astype(np.int16),
        properties,
        str(small.cases_folder / case),
        chunks=data.shape,
        blocks=data.shape,
    )
    return properties, seg[0]


def export(small: Small, case: str, fold: int, properties: dict[str, Any]) -> None:
    """Write a fold's prediction of a case as `nnUNetv2_train --npz` does."""
    validation = small.model / f"fold_{fold}" / "validation"
    validation.mkdir(exist_ok=True)
    export_prediction_from_logits(
        small.logits[case],
        properties,
        small.plans.get_configuration("small"),
        small.plans,
        small.dataset_json,
        str(validation / case),
        save_probabilities=True,
        num_threads_torch=1,
    )
