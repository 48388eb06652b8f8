"""What a training iteration costs: SpineSegDiff with frozen stage 1 against nnU-Net's stock trainer.

Both run nnU-Net's own `train_step` on one made-up batch of a planned 2D network, alternating, in one process:
the ratio of the medians is what counts. On CUDA nnU-Net compiles both, unless nnUNet_compile=false.

    python benchmarks/training_step.py --iterations 20
    python benchmarks/training_step.py --iterations 50 --batch_size 32 -device cuda
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine, synchronize
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_spinesegdiff.doctor.speed import FEATURES
from nnunetv2_spinesegdiff.inference.memory import keep_freed_memory
from nnunetv2_spinesegdiff.training import trainers
from nnunetv2_spinesegdiff.training.out_of_fold import OutOfFold

LABELS = {"background": 0, "spinal_canal": 1, "vertebrae": 2, "ivd": 3}
WARM_UP = 2
"""Iterations that are not timed: in these is compiled what is compiled."""


def plans(batch_size: int, size: int) -> dict:
    """What nnU-Net plans for single slices of that size (seven stages, 33 M parameters)."""
    stages = len(FEATURES)
    arguments = {
        "n_stages": stages,
        "features_per_stage": list(FEATURES),
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * stages,
        "strides": [[1, 1]] + [[2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": batch_size,
        "patch_size": [size, size],
        "spacing": [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }
    return {
        "dataset_name": "Dataset999_Benchmark",
        "plans_name": "nnUNetPlans",
        "configurations": {"2d": configuration},
        "foreground_intensity_properties_per_channel": {},
        "label_manager": "LabelManager",
        "continue_training": False,
    }


def make_step(
    trainer_class: type[nnUNetTrainer], batch_size: int, size: int, device: str, collected: bool
) -> Callable[[], None]:
    """One training iteration of a trainer on a batch that stays the same.

    Args:
        collected: the batch comes with out-of-fold presegmentations.
    """
    dataset = {"channel_names": {"0": "MRI"}, "labels": LABELS, "file_ending": ".nii.gz"}
    trainer = trainer_class(plans(batch_size, size), "2d", 0, dataset, torch.device(device))
    folder = Path(trainer.preprocessed_dataset_folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one_case.b2nd").touch()  # nnU-Net reads from the file ending how the dataset is stored
    if trainer_class is not nnUNetTrainer:
        trainer.resumed_as_frozen = True  # frozen without a checkpoint: its weights cost what others cost
    trainer.initialize()
    trainer.network.train()
    trainer.set_deep_supervision_enabled(True)
    target = torch.randint(0, len(LABELS), (batch_size, 1, size, size)).float()
    shrunk = [target[..., :: 2**i, :: 2**i] for i in range(len(FEATURES) - 1)]
    data = torch.randn(batch_size, 1, size, size)
    if collected:
        trainer.out_of_fold = OutOfFold(folder, 1, frozenset())
        foreground = [(target == label).float() for label in range(1, len(LABELS))]
        data = torch.cat([data, *foreground], 1)
    batch = {"data": data, "target": shrunk, "keys": ["case"] * batch_size}
    return lambda: trainer.train_step(batch)


def measure(steps: dict[str, Callable[[], None]], iterations: int, device: torch.device) -> dict[str, float]:
    """Median seconds of every step; they take turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(WARM_UP + iterations):
        for name, step in steps.items():
            synchronize(device)
            started = time.perf_counter()
            step()
            synchronize(device)
            if i >= WARM_UP:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=10, help="timed iterations of each trainer")
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--size", type=int, default=320, help="height and width, pixels")
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    full, half = trainers.nnUNetTrainerSpineSegDiff, trainers.nnUNetTrainerSpineSegDiff_width50
    kinds = {
        "nnU-Net, stock": (nnUNetTrainer, False),
        "SpineSegDiff, frozen stage 1, full width": (full, False),
        "SpineSegDiff, frozen stage 1, half width": (half, False),
        "SpineSegDiff, collected presegmentations, full width": (full, True),
        "SpineSegDiff, collected presegmentations, half width": (half, True),
    }
    keep_freed_memory()
    with contextlib.redirect_stdout(sys.stderr):  # nnU-Net's greetings
        steps = {
            name: make_step(cls, options.batch_size, options.size, options.device, collected)
            for name, (cls, collected) in kinds.items()
        }
    device = torch.device(options.device)
    seconds = measure(steps, options.iterations, device)
    stock = next(iter(seconds.values()))
    print(f"Batch {options.batch_size}, {options.size} x {options.size}, {machine(device)}, ", end="")
    print(f"torch {torch.__version__}, median of {options.iterations}\n")
    print("| trainer | seconds per iteration | times stock |\n| --- | --- | --- |")
    for name, value in seconds.items():
        print(f"| {name} | {value:#.3g} | {value / stock:.2f} |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[variable] = scratch
        main()
