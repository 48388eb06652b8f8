"""What the trainers for sagittal slices of mixed contrasts do otherwise than nnU-Net's own."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_spinesegdiff.training.sagittal import MAX_ROTATION, repeat_by_series

from ..helpers.model_dataset import make_small

NAMES = ("nnUNetTrainerStage1Sagittal", "nnUNetTrainerSpineSegDiffSagittal")


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("spinesegdiff_stage1", "joint")
    return make_small(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_mirrored_rotations_are_small_and_a_step_changes_the_weights(small, name):
    trainer = small.trainer(f"{name}_1epochs_2iters")
    trainer.initialize()
    rotation, _, _, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert rotation == (-MAX_ROTATION, MAX_ROTATION)
    assert axes is None
    assert trainer.inference_allowed_mirroring_axes is None
    transforms = trainer.get_training_transforms(
        (16, 24), rotation, None, axes, False, use_mask_for_norm=[False]
    ).transforms
    kinds = [type(getattr(one, "transform", one)).__name__ for one in transforms]
    assert "MirrorTransform" not in kinds
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    trainer.train_step(next(trainer.dataloader_train))
    after = trainer.network.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_stage_1_learns_with_adamw_and_ends_at_a_rate_near_zero(small):
    trainer = small.trainer("nnUNetTrainerStage1Sagittal_20epochs")
    trainer.initialize()
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    rates = []
    for epoch in range(20):
        trainer.lr_scheduler.step(epoch)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert max(rates) == pytest.approx(trainer.initial_adamw_lr)
    assert 0 < rates[-1] < 0.02 * max(rates)


@given(st.dictionaries(st.integers(1, 99), st.integers(1, 150), min_size=1, max_size=8))
def test_every_series_is_drawn_about_equally_often(slices_of):
    cases = [
        f"SPIDER_{patient:03d}_t2_SPACE" + (f"_s{number:02d}" if count > 1 else "")
        for patient, count in slices_of.items()
        for number in range(count)
    ]
    repeated = repeat_by_series(cases)
    assert set(repeated) == set(cases)
    draws = Counter(case.split("_s")[0] for case in repeated)
    mean = sum(draws.values()) / len(draws)
    assert all(0.9 * mean <= count <= 1.1 * mean for count in draws.values())


def test_nnunet_loads_repeated_cases_in_proportion():
    """The loader of nnU-Net draws from `identifiers`, duplicates included."""
    cases = repeat_by_series(["a_t2_s01", "a_t2_s02", "b_t1"])
    labels = LabelManager({"background": 0, "bone": 1}, None)
    loader = nnUNetDataLoader(SimpleNamespace(identifiers=cases), 1000, (4, 4), (4, 4), labels)
    np.random.seed(0)  # noqa: NPY002 - what nnU-Net draws from
    share = np.mean([case == "b_t1" for case in loader.get_indices()])
    assert share == pytest.approx(0.5, abs=0.06)
