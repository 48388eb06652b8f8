"""Suffixes of trainer names, and how nnU-Net finds the trainer of such a name."""

from __future__ import annotations

import importlib
import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunetv2_spinesegdiff.environment import TRAINERS
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.training import trainers
from nnunetv2_spinesegdiff.training.names import (
    Suffixes,
    parse_suffixes,
)

REFINER, STAGE1 = "nnUNetTrainerSpineSegDiff", "nnUNetTrainerStage1"
SPELLED = {
    "epochs": "{}epochs",
    "iters": "{}iters",
    "t_start": "T{}",
    "schedule_length": "N{}",
    "width": "width{}",
}


@given(st.dictionaries(st.sampled_from(sorted(SPELLED)), st.integers(1, 5000)), st.randoms())
def test_suffixes_combine_in_any_order(values, random):
    tokens = [SPELLED[key].format(value) for key, value in values.items()]
    random.shuffle(tokens)
    assert parse_suffixes("_".join([REFINER, *tokens]), REFINER) == Suffixes(**values)


@pytest.mark.parametrize(
    ("suffix", "problem"),
    [
        *(
            (s, "unknown suffix")
            for s in ("5epoch", "epochs", "t100", "T", "T-5", "T1.5", "", "5epochs_", "N", "N-5")
        ),
        *((s, "twice") for s in ("5epochs_6epochs", "T5_T5", "N5_N6")),
        *((s, "at least 1") for s in ("0epochs", "width0", "N0")),
    ],
)
def test_wrong_suffixes_are_refused_with_the_known_ones(suffix, problem):
    with pytest.raises(UserError, match=problem) as refused:
        parse_suffixes(f"{REFINER}_{suffix}", REFINER)
    message = str(refused.value)
    for known in ("_<n>epochs", "_<n>iters", "_T<depth>", "_N<length>", "_width<percent>"):
        assert known in message
    assert len(message.splitlines()) == 1


# --- classes ---------------------------------------------------------------------------------------------


def test_a_suffixed_trainer_is_a_class_like_any_other():
    name = f"{REFINER}_5epochs_T100_40iters_width50"
    trainer = getattr(trainers, name)
    assert trainer.__name__ == name
    assert issubclass(trainer, nnUNetTrainer)
    assert trainer.suffixes == Suffixes(epochs=5, iters=40, t_start=100, width=50)
    assert pickle.loads(pickle.dumps(trainer)) is trainer
    assert getattr(importlib.import_module(trainer.__module__), name) is trainer
    assert getattr(trainers, REFINER).suffixes == Suffixes()


@pytest.mark.parametrize(
    ("suffix", "length", "depth", "steps"),
    [
        ("_T1", 1000, 1, 1),
        ("_T100", 1000, 100, 2),
        ("_T1000", 1000, 1000, 2),
        ("", 1000, 30, 2),
        ("_N100", 100, 100, 2),
        ("_N2000", 2000, 2000, 2),
        ("_N1", 1, 1, 1),
        ("_T30_N100", 100, 30, 2),
    ],
)
def test_depth_and_length_set_the_sampler(suffix, length, depth, steps):
    sampler = getattr(trainers, REFINER + suffix).sampler_settings()
    assert (sampler.schedule, sampler.num_train_timesteps, sampler.t_start) == ("cosine", length, depth)
    assert (sampler.ddim_steps, sampler.fusion_steps) == (steps, steps)


@pytest.mark.parametrize(("suffix", "depth", "length"), [("T2000", 2000, 1000), ("N100_T101", 101, 100)])
def test_a_depth_beyond_the_schedule_is_refused(suffix, depth, length):
    with pytest.raises(UserError, match=rf"_{suffix}: t_start = {depth} is outside 1\.\.{length}"):
        getattr(trainers, f"{REFINER}_{suffix}")
    assert f"{REFINER}_{suffix}" not in vars(trainers)


@pytest.fixture
def found_by_nnunet(monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    return recursive_find_trainer_class_by_name


@pytest.mark.parametrize("name", [REFINER, STAGE1, f"{STAGE1}_3epochs", f"{REFINER}_width25_2iters"])
def test_nnunet_finds_our_trainers_in_their_importable_home(found_by_nnunet, name):
    trainer = found_by_nnunet(name)
    assert trainer is getattr(trainers, name)
    assert found_by_nnunet("nnUNetTrainer") is nnUNetTrainer
    assert pickle.loads(pickle.dumps(trainer)) is trainer
