"""Datasets by their ids, without nnU-Net's own look-up, which would wait for torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..environment import folder_of
from ..errors import UserError
from .description import Contrast, Description

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True)
class ValidationCases:
    """Files of the validation cases of a fold.

    Attributes:
        images: name of the file for nnU-Net's prediction to file.
        labels: case to file.
        ending: of all these files.
    """

    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    ending: str


def dataset_name(number: int) -> str | None:
    """Return nnU-Net's full name of a dataset; None if its folders are not set or hold none of that id.

    Raises:
        UserError: there are several names of that id.
    """
    folders = [Path(os.environ[variable]) for variable in FOLDERS if os.environ.get(variable)]
    found = {path.name for folder in folders for path in folder.glob(f"Dataset{number:03d}_*")}
    if len(found) > 1:
        raise UserError(
            f"dataset {number}", f"nnU-Net's folders hold {' and '.join(sorted(found))}", "rename one"
        )
    return found.pop() if found else None


def validation_cases(dataset: int, fold: int) -> ValidationCases:
    """Find the validation cases of a fold. Raises UserError if it, an image or a label is missing."""
    from ..calibration.cases import HeldOutCases  # imports nnU-Net

    name = dataset_name(dataset)
    if name is None:
        raise UserError(f"dataset {dataset}", "not found in nnU-Net's folders", "convert it first")
    held_out = HeldOutCases.of_dataset(name)
    ending = json.loads((folder_of("nnUNet_raw") / name / "dataset.json").read_text(encoding="utf-8"))[
        "file_ending"
    ]
    cases = held_out.of_fold(fold)
    images = {
        f"{case}_{channel:04d}{ending}": Path(file)
        for case in cases
        for channel, file in enumerate(held_out.images[case])
    }
    return ValidationCases(images, {case: Path(held_out.labels[case]) for case in cases}, ending)


def check_datasets(description: Description, ids: dict[str, int]) -> None:
    """Check that all datasets are converted, planned and preprocessed.

    Raises:
        UserError: one is not; the message has the commands.
    """
    for variable in FOLDERS:
        folder_of(variable)
    for contrast in description.contrasts:
        _check(description, contrast, ids[contrast.name])


def _check(description: Description, contrast: Contrast, number: int) -> None:
    configuration = description.configuration
    dim = " --dim 3d" if configuration.startswith("3d") else ""
    plan = f"`nnUNetv2_plan_and_preprocess -d {number} -c {configuration}`"
    convert = f"`spinesegdiff convert -i SPIDER -d {number} --contrast {contrast.convert}{dim}`"
    dataset = f"dataset {number} ({contrast.name})"
    name = dataset_name(number)
    if name is None or not (folder_of("nnUNet_raw") / name).is_dir():
        raise UserError(dataset, "is not in nnUNet_raw", f"run {convert} and {plan}")
    folder = folder_of("nnUNet_preprocessed") / name
    plans_file = folder / f"{description.plans}.json"
    known = (
        json.loads(plans_file.read_text(encoding="utf-8"))["configurations"] if plans_file.is_file() else {}
    )
    identifier = known.get(configuration, {}).get("data_identifier", f"{description.plans}_{configuration}")
    if configuration not in known or not (folder / identifier).is_dir():
        raise UserError(
            dataset, f"{configuration} is not planned and preprocessed in {folder}", f"run {plan}"
        )
