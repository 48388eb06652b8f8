"""The values of Algorithm 1: what is refused by name, what follows, and presets."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from nnunetv2_spinesegdiff.diffusion.settings import PRESETS, SamplerSettings


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"t_start": 0}, "t_start = 0"),
        ({"t_start": 1001}, "t_start = 1001"),
        ({"num_train_timesteps": 29}, "t_start = 30"),
        ({"ddim_steps": 0}, "ddim_steps = 0"),
        ({"ddim_steps": 31}, "ddim_steps = 31"),
        ({"fusion_steps": 0}, "fusion_steps = 0"),
        ({"fusion_steps": 3}, "fusion_steps = 3"),
        ({"num_samples": 0}, "num_samples = 0"),
        ({"eta": -0.1}, "eta = -0.1"),
        ({"eta": 1.1}, "eta = 1.1"),
        ({"eta": math.nan}, "eta = nan"),
        ({"schedule": "sigmoid"}, "sigmoid"),
        ({"ddim_steps": 2.0}, "ddim_steps = 2.0 is no whole number"),
        ({"num_samples": True}, "num_samples = True is no whole number"),
        ({"num_samples": np.bool_(True)}, "num_samples = .*True.* is no whole number"),
        ({"seed": "1"}, "seed = '1' is no whole number"),
        ({"seed": None}, "seed = None is no whole number"),
        ({"eta": "1"}, "eta = '1' is no number"),
        ({"eta": False}, "eta = False is no number"),
        ({"stage1_weight": 1}, "stage1_weight = 1.0"),
        ({"stage1_weight": -0.1}, "stage1_weight = -0.1"),
        ({"stage1_weight": math.nan}, "stage1_weight = nan"),
        (
            {"stage1_weight": 0.5, "start": "noise", "schedule": "linear", "t_start": 1000},
            "stage1_weight = 0.5 is outside 0",
        ),
    ],
)
def test_impossible_settings_are_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        SamplerSettings(**changes)


def test_numbers_of_other_libraries_become_plain_ones():
    s = SamplerSettings(t_start=np.int64(9), eta=np.float32(0.5)).changed(seed=np.uint8(7), eta=1)
    assert json.loads(json.dumps(vars(s)))["seed"] == 7
    assert {type(s.t_start), type(s.seed), type(s.eta)} == {int, float}


def test_what_is_stated_must_be_a_number_before_others_follow_it():
    with pytest.raises(ValueError, match="t_start = '3' is no whole number"):
        SamplerSettings().changed(t_start="3")


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"t_start": 1}, (1, 1, 1)),
        ({"ddim_steps": 1}, (20, 1, 1)),
        ({"ddim_steps": 9}, (20, 9, 4)),
        ({"t_start": 3}, (3, 3, 3)),
        ({"fusion_steps": 6}, (20, 6, 6)),
        ({}, (20, 6, 4)),
    ],
)
def test_what_is_not_stated_follows_down(stated, expected):
    s = SamplerSettings(t_start=20, ddim_steps=6, fusion_steps=4).changed(**stated)
    assert (s.t_start, s.ddim_steps, s.fusion_steps) == expected


@pytest.mark.parametrize(
    "stated", [{"ddim_steps": 21}, {"fusion_steps": 7}, {"t_start": 3, "ddim_steps": 4}, {"t_start": 0}]
)
def test_what_is_stated_is_never_corrected(stated):
    with pytest.raises(ValueError, match=list(stated)[-1]):
        SamplerSettings(t_start=20, ddim_steps=6, fusion_steps=4).changed(**stated)


@pytest.mark.parametrize(
    ("t_start", "name", "steps"), [(30, "paper", 10), (5, "paper", 5), (1, "balanced", 1)]
)
def test_presets_fit_every_depth(t_start, name, steps):
    s = PRESETS[name].applied_to(SamplerSettings(t_start=t_start, ddim_steps=1, fusion_steps=1))
    assert (s.ddim_steps, s.fusion_steps, s.num_samples) == (steps, steps, PRESETS[name].num_samples)


def test_light_noise_and_a_complete_schedule_are_both_expressible():
    light = SamplerSettings(num_train_timesteps=1000, t_start=30)
    complete = SamplerSettings(num_train_timesteps=30, t_start=30, ddim_steps=30, fusion_steps=30)
    assert light.alphas_cumprod()[light.t_start] > 0.99
    assert complete.alphas_cumprod()[complete.t_start] < 1e-5
