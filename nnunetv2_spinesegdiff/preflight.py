"""Questions asked before nnU-Net is started, so that a mistake costs one line and no traceback."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from .environment import folder_of, search_unheard
from .errors import UserError
from .files import load_json
from .stored import check_sagittal

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def check_new_folder(output: Path) -> None:
    """Raises UserError where an output folder is not empty, or is a file."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(output, "already exists and is not an empty folder", "choose a new one")


def check_device(device: str) -> None:
    """Raises UserError where the device is not there."""
    if device == "cpu":
        return  # and no waiting for torch
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(None, "no CUDA device was found", "add -device cpu (or -device mps on a Mac)")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError(None, "no MPS device was found", "add -device cpu")


def check_trainer(name: str) -> None:
    """Raises UserError where nnU-Net knows no trainer of that name."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        with search_unheard():
            recursive_find_trainer_class_by_name(name)
    except RuntimeError:
        raise UserError(
            f"trainer {name}",
            "not found",
            "ours are nnUNetTrainerSpineSegDiff, nnUNetTrainerStage1 and the others in "
            "docs/reference/trainers.md",
        ) from None


def check_before_prediction(arguments: Sequence[str]) -> None:
    """Raises UserError where the words of an `nnUNetv2_predict` name a dataset or device that is missing."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-d")
    parser.add_argument("-device", default="cuda")  # nnU-Net's default
    words, _ = parser.parse_known_args(arguments)
    folder_of("nnUNet_results")
    if words.d is not None:
        name_of_dataset(words.d, "install its model or convert it first")
    check_device(words.device)


def check_planned(dataset: str, configuration: str, plans: str) -> None:
    """Raises UserError where nnU-Net's folders are not set or the dataset is not planned and preprocessed."""
    for variable in FOLDERS:
        folder_of(variable)
    name = name_of_dataset(dataset, "convert it first")
    plans_file = folder_of("nnUNet_preprocessed") / name / f"{plans}.json"
    advice = f"run `nnUNetv2_plan_and_preprocess -d {dataset} -c {configuration}` first"
    if not plans_file.is_file():
        raise UserError(plans_file, "no such file", advice)
    content = load_json(plans_file)
    known = content["configurations"]
    if configuration not in known:
        raise UserError(plans_file, f"has no configuration {configuration}, only {', '.join(known)}")
    check_sagittal(content, configuration)
    folder = plans_file.parent / known[configuration].get("data_identifier", f"{plans}_{configuration}")
    if not folder.is_dir():
        raise UserError(folder, "no such folder", advice)


def name_of_dataset(dataset: str, advice: str) -> str:
    """nnU-Net's full name of a dataset; UserError, with `advice`, where its folders hold none."""
    name = dataset_of_id(int(dataset)) if dataset.isdigit() else dataset
    if name is None or not name.startswith("Dataset"):
        raise UserError(f"dataset {dataset}", "not found in nnU-Net's folders", advice)
    return name


def dataset_of_id(number: int) -> str | None:
    """Return nnU-Net's full name of a dataset; None if its folders are not set or hold none of that id.

    nnU-Net's own look-up would load torch.

    Raises:
        UserError: there are several names of that id.
    """
    folders = [Path(os.environ[variable]) for variable in FOLDERS if os.environ.get(variable)]
    found = {path.name for folder in folders for path in folder.glob(f"Dataset{number:03d}_*")}
    if len(found) > 1:
        names = " and ".join(sorted(found))
        raise UserError(f"dataset {number}", f"nnU-Net's folders hold {names}", "rename one")
    return found.pop() if found else None
