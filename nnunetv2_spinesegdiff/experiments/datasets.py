"""Datasets by their ids, and whether they are there. nnU-Net's own look-up would wait for torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..environment import folder_of
from ..errors import UserError
from .description import Contrast, Description

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def dataset_name(number: int) -> str | None:
    """nnU-Net's full name of a dataset; None where its folders are not set or hold none of that id.

    Raises:
        UserError: there are several names of that id.
    """
    folders = [Path(os.environ[variable]) for variable in FOLDERS if os.environ.get(variable)]
    found = {path.name for folder in folders for path in folder.glob(f"Dataset{number:03d}_*")}
    if len(found) > 1:
        raise UserError(f"dataset {number}: nnU-Net's folders hold {' and '.join(sorted(found))}; rename one")
    return found.pop() if found else None


def check_datasets(description: Description, ids: dict[str, int]) -> None:
    """Raises UserError where a dataset is not converted, planned and preprocessed; it tells the commands."""
    for variable in FOLDERS:
        folder_of(variable)
    for contrast in description.contrasts:
        _check(description, contrast, ids[contrast.name])


def _check(description: Description, contrast: Contrast, number: int) -> None:
    configuration = description.configuration
    dim = " --dim 3d" if configuration.startswith("3d") else ""
    plan = f"`nnUNetv2_plan_and_preprocess -d {number} -c {configuration}`"
    convert = f"`spinesegdiff convert -i SPIDER -d {number} --contrast {contrast.convert}{dim}`"
    what = f"dataset {number} ({contrast.name})"
    name = dataset_name(number)
    if name is None or not (folder_of("nnUNet_raw") / name).is_dir():
        raise UserError(f"{what}: is not in nnUNet_raw; run {convert} and {plan}")
    folder = folder_of("nnUNet_preprocessed") / name
    plans_file = folder / f"{description.plans}.json"
    known = json.loads(plans_file.read_text())["configurations"] if plans_file.is_file() else {}
    identifier = known.get(configuration, {}).get("data_identifier", f"{description.plans}_{configuration}")
    if configuration not in known or not (folder / identifier).is_dir():
        raise UserError(f"{what}: {configuration} is not planned and preprocessed in {folder}; run {plan}")
