"""Plans as nnU-Net writes them, of very small networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_spinesegdiff.network.two_stage import TwoStageNetwork
from nnunetv2_spinesegdiff.training.suffixed import SuffixedTrainer
from nnunetv2_spinesegdiff.training.trainer import nnUNetTrainerSpineSegDiff

STRIDES = {2: [[1, 1], [2, 2], [2, 4]], 3: [[1, 1, 1], [1, 2, 2], [2, 2, 4]]}
LABELS = {"background": 0, "spinal_canal": 1, "vertebrae": 2, "ivd": 3}
RESAMPLING = {
    "data": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "seg": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "probabilities": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
}


def small_plans(axes: int = 2, *, residual: bool = False) -> dict[str, Any]:
    """Plans with the one configuration "small": three stages, strides that differ between axes."""
    kwargs: dict[str, Any] = {
        "n_stages": 3,
        "features_per_stage": [8, 12, 16],
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": [[3] * axes] * 3,
        "strides": STRIDES[axes],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    kwargs["n_blocks_per_stage" if residual else "n_conv_per_stage"] = [1, 2, 1]
    network = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    configuration = {
        "data_identifier": "smallPlans_small",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16] * (axes - 1) + [24],
        "spacing": [1.0] * axes,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": True,
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
            "arch_kwargs": kwargs,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": "Dataset501_Toy",
        "plans_name": "smallPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": list(range(axes)),
        "configurations": {"small": configuration},
    }


def whole_plans(
    reader: str = "SimpleITKIO", axes: int = 2, transpose: tuple[int, ...] = (0, 1, 2), residual: bool = False
) -> dict[str, Any]:
    """Small plans with everything that preprocessing and export read."""
    plans = small_plans(axes, residual=residual)
    configuration = plans["configurations"]["small"]
    for name, kwargs in RESAMPLING.items():
        configuration[f"resampling_fn_{name}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{name}_kwargs"] = kwargs
    return {
        **plans,
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": np.argsort(transpose).tolist(),
        "foreground_intensity_properties_per_channel": {"0": {}},
    }


def build(*args: Any, **kwargs: Any) -> TwoStageNetwork:
    """`build_any` for a two-stage trainer."""
    network = build_any(*args, **kwargs)
    assert isinstance(network, TwoStageNetwork)
    return network


def build_any(
    axes: int = 2,
    *,
    residual: bool = False,
    deep_supervision: bool = False,
    trainer: type[SuffixedTrainer] = nnUNetTrainerSpineSegDiff,
    heads: int = 4,
    seed: int = 0,
) -> Any:
    """The network that a SpineSegDiff trainer builds from small plans: one image channel, eval mode."""
    plans = PlansManager(small_plans(axes, residual=residual))
    torch.manual_seed(seed)
    network = trainer.build_network_architecture(
        plans, plans.get_configuration("small"), 1, heads, deep_supervision
    )
    return network.eval()


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
