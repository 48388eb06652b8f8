"""Every system can learn: four phantom slices, seen again and again, are segmented nearly as labelled.

A network of a quarter of the planned width, without augmentation, on one thread. The budgets are iterations:
a network that predicts noise needs more of them than one that predicts masks.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_spinesegdiff.training import trainers
from nnunetv2_spinesegdiff.training.diffusion_trainer import scale_features

from .conftest import Workspace

BUDGETS = {
    "nnUNetTrainerStage1": 150,
    "nnUNetTrainerSpineSegDiff": 150,
    "nnUNetTrainerSpineSegDiffFromNoise_n5_S1": 250,
    "nnUNetTrainerSpineSegDiffNoIE_n5_S1": 250,
    "nnUNetTrainerDiffUNet_n5_S1": 250,
    "nnUNetTrainerIISDM_n50_S1": 1000,
}
SIZE = 128
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def four_slices(planned: Workspace) -> tuple[Tensor, Tensor]:
    """Preprocessed images (4, 1, H, W) at 2 mm, cropped around the spine, and labels (4, 1, H, W)."""
    folder = str(planned.preprocessed / "nnUNetPlans_2d")
    kind = infer_dataset_class(folder)
    images, labels = [], []
    for case in sorted(kind.get_identifiers(folder))[:4]:
        data, seg, *_ = kind(folder, [case]).load_case(case)
        truth = np.asarray(seg[:])[0, 0]
        corner = [
            int(np.clip((i.min() + i.max()) // 2 - SIZE // 2, 0, n - SIZE))
            for i, n in zip(np.nonzero(truth > 0), truth.shape, strict=True)
        ]
        window = tuple(slice(start, start + SIZE) for start in corner)
        images.append(torch.from_numpy(np.asarray(data[:])[0, 0][window].copy()))
        labels.append(torch.from_numpy(truth[window].clip(0).astype(np.int64)))
    return torch.stack(images)[:, None], torch.stack(labels)[:, None]


@pytest.fixture
def make_trainer(planned: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.setenv("nnUNet_preprocessed", str(planned.root / "preprocessed"))
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.delenv("spinesegdiff_stage1", raising=False)
    plans = json.loads((planned.preprocessed / "nnUNetPlans.json").read_text())
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["arch_kwargs"] = scale_features(architecture["arch_kwargs"], 0.25)
    dataset_json = json.loads((planned.preprocessed / "dataset.json").read_text())

    def make(name: str) -> Any:
        torch.manual_seed(0)
        trainer = getattr(trainers, name)({**plans, "continue_training": False}, "2d", 0, dataset_json, CPU)
        trainer.initialize()
        trainer.rng = np.random.default_rng(0)
        trainer.set_deep_supervision_enabled(True)
        trainer.network.train()
        return trainer

    return make


def batch_of(trainer: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    targets = [
        F.interpolate(labels.float(), [round(SIZE * s) for s in scale]).long()
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
    base, _, suffixes = system.partition("_")
    trainer = make_trainer(f"{base}_100epochs_{max(1, budget // 100)}iters" + (suffixes and f"_{suffixes}"))
    for iteration in range(budget):
        trainer.lr_scheduler.step(iteration * 100 // budget)
        trainer.train_step(batch_of(trainer, images, labels))
    trainer.network.eval()
    trainer.set_deep_supervision_enabled(False)
    with torch.inference_mode():
        mask = trainer.network(images).argmax(1, keepdim=True)
    dice = mean_dice(mask, labels)
    print(f"{system}: Dice {dice:.3f} after {budget} iterations")
    assert dice > 0.9
