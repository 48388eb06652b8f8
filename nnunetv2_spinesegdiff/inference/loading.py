"""Weights and network of a trained or exported model, for nnU-Net's predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import UserError
from ..nnunet_hooks import OptimizedModule, stock
from .untrusted import load_safely, read_json

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


def check_trained(folder: Path, folds: Sequence[int | str] | None, checkpoint_name: str) -> None:
    """Raises UserError where the folder holds no trained model, or one of the folds has no checkpoint."""
    if not (folder / "plans.json").is_file():
        raise UserError(folder, "there is no trained model", "check -d, -tr, -p and -c, or train it first")
    for fold in folds or ():
        checkpoint = folder / f"fold_{fold}" / checkpoint_name
        if not checkpoint.is_file():
            raise UserError(checkpoint, "no such checkpoint", "name the trained folds with -f")


def load_exported(
    predictor: nnUNetPredictor,
    folder: Path,
    plans: dict[str, Any],
    folds: Sequence[int | str] | None,
    checkpoint_name: str,
    checkpoints: list[dict[str, Any]] | None = None,
) -> None:
    """Load an exported model, whose plans alone describe its network, as nnU-Net's predictor would.

    That one imports nnU-Net's trainers and with them torch's compiler, and draws random weights first.

    Args:
        predictor: nnU-Net's, to be initialized.
        checkpoints: those of these folds, if they have been read already.
    """
    if checkpoints is None:
        if folds is None:
            folds = predictor.auto_detect_available_folds(str(folder), checkpoint_name)
        checkpoints = [load_safely(folder / f"fold_{fold}" / checkpoint_name) for fold in folds]
    dataset = read_json(folder / "dataset.json")
    manager = stock.PlansManager(plans)
    configuration = manager.get_configuration(checkpoints[0]["init_args"]["configuration"])
    with _WithoutRandomWeights():
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            stock.determine_num_input_channels(manager, configuration, dataset),
            manager.get_label_manager(dataset).num_segmentation_heads,
            allow_init=False,
            deep_supervision=False,
        )
    weights = checkpoints[0]["network_weights"]
    # Other folds' weights are copied into the network's; those of the only one can be the network's.
    only = len(checkpoints) == 1 and all(w.dtype in (torch.float32, torch.bool) for w in weights.values())
    network.load_state_dict(weights, assign=only)
    predictor.manual_initialization(
        network,
        manager,
        configuration,
        [checkpoint["network_weights"] for checkpoint in checkpoints],
        dataset,
        checkpoints[0]["trainer_name"],
        checkpoints[0]["inference_allowed_mirroring_axes"],
    )


def compile_parts(predictor: nnUNetPredictor) -> None:
    """Where nnU-Net compiled the network, compile its parts: what runs here between them is not `forward`."""
    if isinstance(predictor.network, OptimizedModule):
        predictor.network = predictor.network._orig_mod
        for part in (getattr(predictor.network, name, None) for name in ("stage1", "denoiser")):
            if part is not None:
                part.compile()


def share_weights(predictor: nnUNetPredictor) -> None:
    """Let a model of one fold keep its weights once: nnU-Net loads a copy before every case.

    Taken before the network is moved, they would stay behind, to be copied to the GPU every time.
    """
    if len(predictor.list_of_parameters) == 1:
        predictor.network = predictor.network.to(predictor.device)
        predictor.list_of_parameters = [predictor.network.state_dict()]


def use_group_norms(network: nn.Module) -> None:
    """Compute instance norms as group norms with groups of one channel, which is faster on a CPU.

    Names and tensors of the weights stay. Logits differ from those of the instance norms by rounding.
    """
    found: dict[Any, nn.GroupNorm] = {
        norm: nn.GroupNorm(norm.num_features, norm.num_features, norm.eps, norm.affine)
        for norm in network.modules()
        if isinstance(norm, nn.InstanceNorm2d | nn.InstanceNorm3d) and not norm.track_running_stats
    }
    for norm, group_norm in found.items():
        group_norm.weight, group_norm.bias = norm.weight, norm.bias
    for module in list(network.modules()):
        # nnU-Net's blocks have every norm under two names.
        for name, part in module._modules.items():
            if part in found:
                module._modules[name] = found[part]


class _WithoutRandomWeights(TorchFunctionMode):
    """Modules that are built in here have weights of any value: trained ones are loaded next."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)
