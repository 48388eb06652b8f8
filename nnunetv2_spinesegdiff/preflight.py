"""Questions asked before nnU-Net is started, so that a mistake costs one line and no traceback."""

from __future__ import annotations

import json

from .environment import folder_of
from .errors import UserError


def check_device(device: str) -> None:
    """Raises UserError where the device is not there."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device was found; add `-device cpu` (or mps on a Mac)")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("no MPS device was found; add `-device cpu`")


def check_planned(dataset: str, configuration: str, plans: str) -> None:
    """Raises UserError where nnU-Net's folders are not set or the dataset is not planned and preprocessed."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        folder_of(variable)
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    try:
        name = maybe_convert_to_dataset_name(int(dataset) if dataset.isdigit() else dataset)
    except (RuntimeError, ValueError):
        raise UserError(f"dataset {dataset}: not found in nnU-Net's folders; convert it first") from None
    plans_file = folder_of("nnUNet_preprocessed") / name / f"{plans}.json"
    advice = f"run `nnUNetv2_plan_and_preprocess -d {dataset} -c {configuration}` first"
    if not plans_file.is_file():
        raise UserError(f"{plans_file}: there is no such file; {advice}")
    known = json.loads(plans_file.read_text())["configurations"]
    if configuration not in known:
        raise UserError(f"{plans_file}: has no configuration {configuration}, only {', '.join(known)}")
    folder = plans_file.parent / known[configuration].get("data_identifier", f"{plans}_{configuration}")
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; {advice}")
