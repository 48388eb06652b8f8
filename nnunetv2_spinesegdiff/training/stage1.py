"""Which trained stage 1 a refiner is trained on, and whether it may be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from ..errors import UserError
from ..inference.untrusted import load_safely
from ..text import reason_of
from .presegmentations import CHECKPOINT, STOCK_TRAINERS, preprocessing_of

ENVIRONMENT_VARIABLE = "spinesegdiff_stage1"
"""A trainer name, the path of a checkpoint or of its fold folder, or "joint": train both stages together."""


def find_stage1_checkpoint(plans: PlansManager, configuration: str, fold: int | str) -> Path | None:
    """The finished checkpoint of stage 1 to freeze, or None where both stages are to be trained together.

    By convention the stock training of the same dataset, plans, configuration and fold, if it is finished;
    the environment variable `spinesegdiff_stage1` names another one.

    Raises:
        UserError: the checkpoint that the variable names does not exist.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if named == "joint":
        return None
    if not named:
        candidates = [_checkpoint_of(trainer, plans, configuration, fold) for trainer in STOCK_TRAINERS]
        return next((c for c in candidates if c.is_file()), None)
    path = Path(named)
    is_path = os.sep in named or (os.altsep is not None and os.altsep in named)
    if path.is_dir() and is_path:
        path = path / CHECKPOINT
    elif not path.is_file() and not is_path:
        path = _checkpoint_of(named, plans, configuration, fold)
    if not path.is_file():
        raise UserError(
            path,
            f"no such checkpoint, but {ENVIRONMENT_VARIABLE}={named} names it",
            "train it to the end first, name another, or unset the variable",
        )
    return path


def stock_trainer_of(
    checkpoint_file: Path, plans: PlansManager, configuration: str, fold: int | str
) -> str | None:
    """The trainer whose training of this fold left the checkpoint; None for a file in another place."""
    trainer = checkpoint_file.resolve().parent.parent.name.split("__")[0]
    expected = _checkpoint_of(trainer, plans, configuration, fold)
    return trainer if expected.resolve() == checkpoint_file.resolve() else None


def load_stage1_weights(
    checkpoint_file: Path,
    plans: PlansManager,
    configuration: str,
    fold: int | str,
    dataset_json: dict[str, Any],
) -> dict[str, torch.Tensor]:
    """The weights of a stage-1 checkpoint that belongs to this very training.

    Raises:
        UserError: it belongs to another dataset, plans, configuration, fold, preprocessing or set of labels
            (the message states which), holds no plain nnU-Net training, or cannot be read.
    """
    checkpoint = load_safely(checkpoint_file)
    ours = {
        "plans": plans.plans,
        "configuration": configuration,
        "fold": fold,
        "dataset_json": dataset_json,
    }
    try:
        theirs, weights = checkpoint["init_args"], dict(checkpoint["network_weights"])
        _refuse_difference(checkpoint_file, _identity(theirs), _identity(ours))
        _refuse_difference(checkpoint_file, _preprocessing(theirs), _preprocessing(ours))
    except (KeyError, TypeError) as error:
        reason = reason_of(error, with_type=True)
        raise UserError(checkpoint_file, f"not a checkpoint of nnU-Net v2 ({reason})") from None
    if any(key.startswith("denoiser.") for key in weights):
        raise UserError(
            checkpoint_file,
            f"rejected as stage 1, it is a two-stage training itself ({checkpoint.get('trainer_name')})",
            f"name a stock training in {ENVIRONMENT_VARIABLE}",
        )
    return weights


def _refuse_difference(checkpoint_file: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for what, wanted in ours.items():
        if theirs[what] != wanted:
            raise UserError(
                checkpoint_file,
                f"rejected as stage 1, it was trained with {what} {theirs[what]}, "
                f"this training has {what} {wanted}",
                f"name another checkpoint in {ENVIRONMENT_VARIABLE}",
            )


def _identity(arguments: dict[str, Any]) -> dict[str, Any]:
    """What must agree between a stage 1 and the training that freezes it, from a trainer's arguments."""
    return {
        "dataset": arguments["plans"]["dataset_name"],
        "plans": arguments["plans"]["plans_name"],
        "configuration": arguments["configuration"],
        "fold": str(arguments["fold"]),
        "labels": arguments["dataset_json"]["labels"],
    }


def _preprocessing(arguments: dict[str, Any]) -> dict[str, Any]:
    plans = PlansManager(arguments["plans"])
    return preprocessing_of(plans, plans.get_configuration(arguments["configuration"]))


def model_of(trainer: str, plans: PlansManager, configuration: str) -> Path:
    """The results folder of a training, with a folder a fold."""
    folder = f"{trainer}__{plans.plans_name}__{configuration}"
    return Path(str(nnUNet_results)) / plans.dataset_name / folder


def _checkpoint_of(trainer: str, plans: PlansManager, configuration: str, fold: int | str) -> Path:
    return model_of(trainer, plans, configuration) / f"fold_{fold}" / CHECKPOINT
