"""Plans from which nnU-Net's own trainer builds a SpineSegDiff network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from ..environment import make_trainers_known, search_unheard
from ..errors import UserError
from ..network.from_plans import is_described
from ..preflight import check_trainer
from ..stored import stored_in, with_stored
from .checkpoints import STOCK_TRAINER, Checkpoint


def plans_for_stock(plans: Mapping[str, Any], checkpoint: Checkpoint, model: Path) -> dict[str, Any]:
    """The plans of a trained model with the one configuration that it has, and our network in it.

    Our part of them keeps sampler and calibrations, and names the trainer, to which a calibration belongs.
    Plans of an exported model stay as they are.

    Raises:
        UserError: the trainer is not found, or does not train a SpineSegDiff network.
    """
    name = checkpoint.configuration
    if name not in plans["configurations"]:
        raise UserError(model, f"its checkpoints are of {name}, which its plans.json does not have")
    manager = PlansManager(dict(plans))
    configuration = manager.get_configuration(name)
    kept = {key: value for key, value in configuration.configuration.items() if key != "inherits_from"}
    stored = stored_in(plans)
    exported = checkpoint.trainer == STOCK_TRAINER and "trainer" in stored
    if exported != is_described(kept["architecture"]):
        raise UserError(
            model,
            f"its plans.json and its checkpoints, of trainer {checkpoint.trainer}, are not of one model",
            "install it again, or train it to the end",
        )
    if not exported:
        trainer = _diffusion_trainer(checkpoint.trainer, model)
        kept["architecture"] = trainer.described_network(manager, configuration)
        sampler = kept["architecture"]["arch_kwargs"]["sampler"]
        stored = {**stored, "sampler": sampler, "trainer": checkpoint.trainer}
    return with_stored({**plans, "configurations": {name: kept}}, **stored)


def _diffusion_trainer(name: str, model: Path) -> Any:
    make_trainers_known()
    check_trainer(name)
    with search_unheard():
        trainer = recursive_find_trainer_class_by_name(name)
    if not hasattr(trainer, "described_network"):
        raise UserError(
            model,
            f"trained with {name}, which trains no diffusion network",
            "use nnUNetv2_export_model_to_zip",
        )
    return trainer


def stock_network(plans: Mapping[str, Any], configuration: str, dataset: dict[str, Any]) -> Any:
    """Build the network as nnU-Net's own trainer does for prediction."""
    manager = PlansManager(dict(plans))
    planned = manager.get_configuration(configuration)
    channels = determine_num_input_channels(manager, planned, dataset)
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    return nnUNetTrainer.build_network_architecture(manager, planned, channels, heads, False)
