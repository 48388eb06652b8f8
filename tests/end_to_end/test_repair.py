"""What the refiner is for: a damaged presegmentation of an unseen phantom comes back repaired.

A network of half the planned width is trained for a few minutes by nnU-Net's own command; then held-out
slices are refined from the ground truth, damaged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from scipy import ndimage
from torch import Tensor

from nnunetv2_spinesegdiff.diffusion.masks import one_hot_channels
from nnunetv2_spinesegdiff.environment import external_trainers
from nnunetv2_spinesegdiff.labels import IVD, SPINAL_CANAL, VERTEBRAE
from nnunetv2_spinesegdiff.network.two_stage import TwoStageNetwork
from nnunetv2_spinesegdiff.training.diffusion_trainer import scale_features

from ..helpers.model_commands import DATASET, Workspace

TRAINER = "nnUNetTrainerSpineSegDiff_8epochs_50iters"
pytestmark = pytest.mark.slow

CLASSES = (SPINAL_CANAL, VERTEBRAE, IVD)


@pytest.fixture(scope="module")
def small_model(planned_finely: Workspace, monkeypatch_module: pytest.MonkeyPatch) -> TwoStageNetwork:
    plans = json.loads((planned_finely.preprocessed / "nnUNetPlans.json").read_text())
    plans["plans_name"] = "smallPlans"
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["arch_kwargs"] = scale_features(architecture["arch_kwargs"], 0.5)
    (planned_finely.preprocessed / "smallPlans.json").write_text(json.dumps(plans))
    planned_finely.shell(
        f"nnUNetv2_train {DATASET} 2d 0 -tr {TRAINER} -p smallPlans -device cpu", nnUNet_n_proc_DA="1"
    )

    monkeypatch_module.setenv("nnUNet_extTrainer", external_trainers())
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    folder = planned_finely.root / "results" / "Dataset501_SPIDER" / f"{TRAINER}__smallPlans__2d"
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    assert isinstance(predictor.network, TwoStageNetwork)
    return predictor.network.eval()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def held_out(planned_finely: Workspace) -> list[tuple[Tensor, np.ndarray]]:
    """Preprocessed validation slices of fold 0: image (1, 1, H, W), labels (H, W)."""
    cases = json.loads((planned_finely.preprocessed / "splits_final.json").read_text())[0]["val"]
    folder = str(planned_finely.preprocessed / "nnUNetPlans_2d")
    dataset = infer_dataset_class(folder)(folder, cases)
    loaded = [dataset.load_case(case) for case in cases]
    return [(torch.from_numpy(np.asarray(data[:])), np.asarray(seg[:])[0, 0]) for data, seg, *_ in loaded]


def without_one_disc(labels: np.ndarray) -> np.ndarray:
    components, count = ndimage.label(labels == IVD)
    sizes = ndimage.sum_labels(labels == IVD, components, range(1, count + 1))
    return np.where(components == 1 + int(np.argmax(sizes)), 0, labels)


def empty(labels: np.ndarray) -> np.ndarray:
    return np.zeros_like(labels)


def swapped(labels: np.ndarray) -> np.ndarray:
    """Vertebrae and discs have each other's name."""
    return np.select([labels == VERTEBRAE, labels == IVD], [IVD, VERTEBRAE], labels)


def mean_dice(mask: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    def dice(label: int) -> float:
        a, b = (mask == label) & where, (truth == label) & where
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    return float(np.mean([dice(label) for label in CLASSES if ((truth == label) & where).any()]))


@pytest.mark.parametrize("damage", [without_one_disc, empty, swapped], ids=lambda damage: damage.__name__)
def test_damage_is_repaired(
    small_model: TwoStageNetwork,
    held_out: list[tuple[Tensor, np.ndarray]],
    damage: Callable[[np.ndarray], np.ndarray],
    record_property: Callable[[str, object], None],
) -> None:
    """Near the damage, refinement makes good at least half of the Dice that is missing."""
    before, after = [], []
    for image, truth in held_out:
        damaged = damage(truth)
        near = ndimage.binary_dilation(damaged != truth, iterations=5)
        masks = one_hot_channels(torch.from_numpy(damaged.copy())[None].clamp(min=0), 4)
        with torch.inference_mode():
            refined = small_model.refine(image, masks).logits.argmax(1)[0].numpy()
        before.append(mean_dice(damaged, truth, near))
        after.append(mean_dice(refined, truth, near))
    print(f"{damage.__name__}: Dice near the damage {np.mean(before):.3f} -> {np.mean(after):.3f}")
    record_property("dice", (float(np.mean(before)), float(np.mean(after))))
    assert 1 - np.mean(after) < 0.5 * (1 - np.mean(before))
