"""Transforms and trainers that exist to be compared with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ..helpers.model_dataset import make_small

PATH = Path(__file__).parents[2] / "benchmarks" / "control_trainers" / "controls.py"
SPEC = importlib.util.spec_from_file_location("controls", PATH)
assert SPEC is not None
assert SPEC.loader is not None
controls = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(controls)


def test_random_contrasts_come_behind_the_spatial_transform(tmp_path):
    name = "nnUNetTrainerStage1SagittalRandomContrast_1epochs_2iters"
    trainer = make_small(tmp_path).trainer(name, module=controls)
    trainer.initialize()
    rotation, _, _, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    transforms = trainer.get_training_transforms(
        (16, 24), rotation, None, axes, False, use_mask_for_norm=[False]
    ).transforms
    kinds = [type(getattr(one, "transform", one)).__name__ for one in transforms]
    assert kinds.index("RandomContrastTransform") == kinds.index("SpatialTransform") + 1
    assert transforms[kinds.index("RandomContrastTransform")].apply_probability == 0.25


@given(st.integers(0, 2**32 - 1))
def test_a_random_contrast_keeps_edges_mean_and_spread(seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn((1, 12, 9), generator=generator) * 3 + 1
    image[0, :3] = image[0, 0, 0]  # a flat region stays flat
    torch.manual_seed(seed)
    changed = controls.RandomContrastTransform()(image=image.clone())["image"]
    assert changed.shape == image.shape
    assert torch.isfinite(changed).all()
    assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=1e-3)
    assert float(changed.std()) == pytest.approx(float(image.std()), rel=1e-3)
    assert len(changed[0, :3].unique()) == 1


def test_a_falling_curve_inverts_and_a_rising_one_changes_nothing():
    image = torch.linspace(-2, 5, 50).reshape(5, 10)
    torch.testing.assert_close(controls.mapped(image, torch.tensor([0.0, 1.0])), image)
    inverted = controls.mapped(image, torch.tensor([1.0, 0.0]))
    assert (inverted.flatten().diff() < 0).all()
