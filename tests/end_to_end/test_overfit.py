"""Every system can learn: four phantom slices, seen again and again, are segmented nearly as labelled.

Slices of 4 mm pixels, networks of half the planned features, no augmentation. The budgets are iterations: a
network that predicts noise needs many more of them than one that predicts masks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_spinesegdiff.training import trainers
from nnunetv2_spinesegdiff.training.diffusion_trainer import scale_features

from ..helpers.model_commands import Workspace

BUDGETS = {
    "nnUNetTrainerStage1": 400,
    "nnUNetTrainerSpineSegDiff": 60,
    "nnUNetTrainerSpineSegDiffFromNoise_n5_S1": 80,
    "nnUNetTrainerSpineSegDiffNoIE_n5_S1": 120,
    "nnUNetTrainerDiffUNet_n5_S1": 80,
    "nnUNetTrainerIISDM_n50_S4": 2000,
}
RATES = {"nnUNetTrainerIISDM_n50_S4": 3e-3}
"""Of the denoiser, where it is not that of short trainings."""
STRIDE = 32
EPOCHS = 100
CPU = torch.device("cpu")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def all_cores() -> Iterator[None]:
    """These networks are large enough to gain by them."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def four_slices(planned_finely: Workspace) -> tuple[Tensor, Tensor]:
    """Preprocessed images (4, 1, H, W) and labels (4, 1, H, W), padded to what the network halves."""
    folder = str(planned_finely.preprocessed / "nnUNetPlans_2d")
    kind = infer_dataset_class(folder)
    loaded = [kind(folder, [case]).load_case(case) for case in sorted(kind.get_identifiers(folder))[:4]]
    images = [torch.from_numpy(np.asarray(data[:])[:, 0, ::2, ::2]) for data, *_ in loaded]
    labels = [
        torch.from_numpy(np.asarray(seg[:])[:, 0, ::2, ::2].clip(0).astype(np.int64)) for _, seg, *_ in loaded
    ]
    size = [-(-max(image.shape[axis] for image in images) // STRIDE) * STRIDE for axis in (1, 2)]

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, size[1] - x.shape[2], 0, size[0] - x.shape[1]))

    return torch.stack([padded(x) for x in images]), torch.stack([padded(x) for x in labels])


@pytest.fixture
def make_trainer(planned_finely: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.setenv("nnUNet_preprocessed", str(planned_finely.root / "preprocessed"))
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.delenv("spinesegdiff_stage1", raising=False)
    plans = json.loads((planned_finely.preprocessed / "nnUNetPlans.json").read_text())
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["arch_kwargs"] = scale_features(architecture["arch_kwargs"], 0.5)
    dataset_json = json.loads((planned_finely.preprocessed / "dataset.json").read_text())

    def make(system: str, budget: int) -> Any:
        torch.manual_seed(0)
        base, _, suffixes = system.partition("_")
        name = f"{base}_{EPOCHS}epochs_{max(1, budget // EPOCHS)}iters" + (suffixes and f"_{suffixes}")
        trainer = getattr(trainers, name)({**plans, "continue_training": False}, "2d", 0, dataset_json, CPU)
        trainer.denoiser_lr = RATES.get(system)
        trainer.initialize()
        trainer.rng = np.random.default_rng(0)
        trainer.set_deep_supervision_enabled(True)
        trainer.network.train()
        return trainer

    return make


def batch_of(trainer: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    targets = [
        F.interpolate(
            labels.float(), [round(n * s) for n, s in zip(labels.shape[2:], scale, strict=True)]
        ).long()
        for scale in trainer._get_deep_supervision_scales()
    ]
    return {"data": images, "target": targets}


def mean_dice(mask: Tensor, truth: Tensor) -> float:
    scores = [
        2 * ((mask == c) & (truth == c)).sum().item() / ((mask == c).sum() + (truth == c).sum()).item()
        for c in (1, 2, 3)
    ]
    return float(np.mean(scores))


@pytest.mark.parametrize("system", BUDGETS)
def test_four_slices_are_learnt(system: str, make_trainer: Any, four_slices: tuple[Tensor, Tensor]) -> None:
    images, labels = four_slices
    budget = BUDGETS[system]
    trainer = make_trainer(system, budget)
    for iteration in range(budget):
        trainer.lr_scheduler.step(iteration * EPOCHS // budget)
        trainer.train_step(batch_of(trainer, images, labels))
    trainer.network.eval()
    trainer.set_deep_supervision_enabled(False)
    with torch.inference_mode():
        mask = trainer.network(images).argmax(1, keepdim=True)
    dice = mean_dice(mask, labels)
    print(f"{system}: Dice {dice:.3f} after {budget} iterations")
    assert dice > 0.9
