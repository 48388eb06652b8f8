"""Tiny volumes with three kinds of labels, planned for 2d, 3d_fullres, 3d_lowres and 3d_cascade_fullres."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_spinesegdiff.network.planned import scale_features

from .model_commands import Workspace

SHAPE, SPACING = (6, 24, 24), (1.0, 1.0, 3.0)
"""Slices, rows, columns; mm in SimpleITK's order."""
CASES = tuple(f"case{i}" for i in range(4))
SPLITS = [
    {"train": list(CASES[2:]), "val": list(CASES[:2])},
    {"train": list(CASES[:2]), "val": list(CASES[2:])},
]
LABELS: dict[str, dict[str, Any]] = {
    "classes": {"labels": {"background": 0, "rim": 1, "core": 2}},
    "regions": {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]},
    "ignore": {"labels": {"background": 0, "rim": 1, "core": 2, "ignore": 3}},
}
DATASETS = {"classes": "610", "regions": "611", "ignore": "612", "other": "613"}
"""Numbers; "other" has the classes of the first and other images."""
PLANNERS = {
    "nnUNetPlans": "ExperimentPlanner",
    "nnUNetResEncUNetMPlans": "nnUNetPlannerResEncM",
    "nnUNetResEncUNetLPlans": "nnUNetPlannerResEncL",
}
PREDICTION = "-device cpu -npp 0 -nps 0"


@dataclass(frozen=True)
class Volumes(Workspace):
    """nnU-Net's folders of one dataset.

    Attributes:
        kind: a key of `DATASETS`.
    """

    kind: str = "classes"

    @property
    def dataset(self) -> str:
        return DATASETS[self.kind]

    @property
    def name(self) -> str:
        return f"Dataset{self.dataset}_{self.kind.capitalize()}"

    @property
    def raw(self) -> Path:
        return self.root / "raw" / self.name

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / self.name

    def model(self, trainer: str, configuration: str = "2d", plans: str = "nnUNetPlans") -> Path:
        return self.root / "results" / self.name / f"{trainer}__{plans}__{configuration}"

    def train(
        self,
        trainer: str,
        configuration: str = "2d",
        fold: int | str = 0,
        plans: str = "nnUNetPlans",
        flags: str = "",
    ) -> Path:
        """Train, if that has not been done; returns the folder of the fold."""
        folder = self.model(trainer, configuration, plans) / f"fold_{fold}"
        if flags or not (folder / "validation" / "summary.json").is_file():
            words = (
                f"nnUNetv2_train {self.dataset} {configuration} {fold} -tr {trainer} -p {plans} -device cpu"
            )
            self.run(f"{words} --npz {flags}")
        return folder

    def segment(self, output: Path, options: str, **environment: str) -> dict[str, np.ndarray]:
        """Predict all training images; `options` name the model."""
        images = self.raw / "imagesTr"
        line = f"nnUNetv2_predict -i {images} -o {output} -d {self.dataset} {options}"
        self.run(line if "-npp" in options else f"{line} {PREDICTION}", **environment)
        return arrays_of(output)


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    """The masks of a folder by file name."""
    paths = sorted(folder.glob("*.nii.gz"))
    return {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in paths}


def write_image(array: np.ndarray, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(path))


def write_volumes(folder: Path, kind: str, seed: int = 0) -> None:
    """A raw dataset: bright boxes with a brighter core on noise; a corner is labelled as ignored."""
    rng = np.random.default_rng(seed)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for case in CASES:
        labels = np.zeros(SHAPE, np.uint8)
        y, x = rng.integers(2, 10, 2)
        labels[1:5, y : y + 12, x : x + 12] = 1
        labels[2:4, y + 3 : y + 9, x + 3 : x + 9] = 2
        image = (labels * 100 + rng.normal(0, 10, labels.shape)).astype(np.float32)
        if "ignore" in LABELS[kind]["labels"]:
            labels[:, :2, :2] = 3
        write_image(image, folder / "imagesTr" / f"{case}_0000.nii.gz")
        write_image(labels, folder / "labelsTr" / f"{case}.nii.gz")
    described = {"channel_names": {"0": "MRI"}, "numTraining": len(CASES), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**described, **LABELS[kind]}))


def with_cascade(plans: dict[str, Any]) -> dict[str, Any]:
    """Plans with a quarter of the features, batches of 2, and the two stages of plans for large images."""
    configurations = plans["configurations"]
    for configuration in (configurations["2d"], configurations["3d_fullres"]):
        architecture = configuration["architecture"]
        architecture["arch_kwargs"] = scale_features(architecture["arch_kwargs"], 0.25)
        configuration["batch_size"] = 2
    configurations["3d_lowres"] = {
        "inherits_from": "3d_fullres",
        "data_identifier": f"{plans['plans_name']}_3d_lowres",
        "spacing": [1.5 * mm for mm in configurations["3d_fullres"]["spacing"]],
        "next_stage": "3d_cascade_fullres",
    }
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return plans


def plan_volumes(root: Path, kind: str, plans: tuple[str, ...] = ("nnUNetPlans",)) -> Volumes:
    """Write a dataset, plan it with nnU-Net's commands one by one, add the cascade, and preprocess it."""
    volumes = Volumes(root, kind)
    write_volumes(volumes.raw, kind if kind in LABELS else "classes", seed=len(kind))
    volumes.run(f"nnUNetv2_extract_fingerprint -d {volumes.dataset} --verify_dataset_integrity -np 1")
    for name in plans:
        volumes.run(f"nnUNetv2_plan_experiment -d {volumes.dataset} -pl {PLANNERS[name]}")
        path = volumes.preprocessed / f"{name}.json"
        path.write_text(json.dumps(with_cascade(json.loads(path.read_text()))))
        preprocess = f"nnUNetv2_preprocess -d {volumes.dataset} -plans_name {name} -np 1"
        volumes.run(f"{preprocess} -c 2d 3d_fullres 3d_lowres")
    (volumes.preprocessed / "splits_final.json").write_text(json.dumps(SPLITS))
    return volumes
