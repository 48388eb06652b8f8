"""Trainers between nnU-Net's hooks, without data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from nnunetv2_spinesegdiff.training import trainers

from .model_plans import LABELS, small_plans

CPU = torch.device("cpu")
REGIONS: dict[str, Any] = {"background": 0, "spine": [1, 2, 3], "column": [2, 3], "ivd": 3}
KINDS: dict[str, dict[str, Any]] = {
    "classes": {"labels": LABELS},
    "ignore": {"labels": {**LABELS, "ignore": 4}},
    "regions": {"labels": REGIONS, "regions_class_order": [1, 2, 3]},
    "regions and ignore": {"labels": {**REGIONS, "ignore": 4}, "regions_class_order": [1, 2, 3]},
}


def made(
    name: str = "nnUNetTrainerSpineSegDiff", kind: str = "classes", axes: int = 2, **plans_changes
) -> Any:
    """A trainer, not initialised."""
    data = Path(os.environ["nnUNet_preprocessed"]) / "Dataset501_Toy" / "smallPlans_small"
    data.mkdir(parents=True, exist_ok=True)
    (data / "case.npz").touch()
    plans = {**small_plans(axes), "continue_training": False}
    plans["configurations"]["small"]["architecture"]["arch_kwargs"].update(plans_changes)
    dataset_json = {"channel_names": {"0": "MRI"}, "numTraining": 2, "file_ending": ".nii.gz", **KINDS[kind]}
    torch.manual_seed(0)
    return getattr(trainers, name)(plans, "small", 0, dataset_json, CPU)


def ready(*args, **kwargs) -> Any:
    """A trainer as nnU-Net has it before the first iteration."""
    trainer = made(*args, **kwargs)
    trainer.initialize()
    trainer.rng = np.random.default_rng(0)
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    return trainer


def batch_of(trainer: Any, seed: int = 0) -> dict[str, Any]:
    """What nnU-Net's loader gives: images and a target for every resolution of deep supervision."""
    patch = list(trainer.configuration_manager.patch_size)
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for scale in trainer._get_deep_supervision_scales():
        spatial = [round(n * s) for n, s in zip(patch, scale, strict=True)]
        manager = trainer.label_manager
        if manager.has_regions:
            channels = len(manager.foreground_regions) + (manager.ignore_label is not None)
            targets.append((torch.rand((2, channels, *spatial), generator=generator) < 0.4).float())
        else:
            classes = 4 + (manager.ignore_label is not None)
            targets.append(torch.randint(classes, (2, 1, *spatial), generator=generator))
    return {"data": torch.randn((2, 1, *patch), generator=generator), "target": targets}


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> bool:
    after = module.state_dict()
    assert set(after) == set(before)
    return any(not torch.equal(after[key], value) for key, value in before.items())


def finished_stage1(**plans_changes) -> tuple[Path, dict[str, torch.Tensor]]:
    """The checkpoint of a stock training where it is found by convention, and its weights."""
    trainer = made("nnUNetTrainerStage1", **plans_changes)
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    return Path(trainer.output_folder) / "checkpoint_final.pth", weights_of(trainer.network)


def learnable_batch(trainer: Any) -> dict[str, Any]:
    """A batch whose image shows where the structures are."""
    batch = batch_of(trainer)
    labels = torch.zeros_like(batch["target"][0])
    labels[:, :, 4:10, 5:15] = 2
    batch["target"][0] = labels
    batch["data"] = batch["data"] * 0.1 + labels
    return batch


def log_of(trainer: Any) -> str:
    return Path(trainer.log_file).read_text()


@contextmanager
def one_process() -> Iterator[None]:
    """A DDP group of one; started after the trainer, which would look for its GPU in one."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()
