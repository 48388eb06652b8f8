"""The values of Algorithm 1: what is refused by name, what follows, and presets."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from nnunetv2_spinesegdiff.diffusion.settings import PRESETS, SamplerSettings

IMPOSSIBLE: dict[str, list[Any]] = {
    "t_start": [0, 1001],
    "ddim_steps": [0, 31, 2.0],
    "fusion_steps": [0, 3],
    "num_samples": [0, True, np.bool_(True)],
    "eta": [-0.1, 1.1, math.nan, "1", False],
    "schedule": ["sigmoid"],
    "seed": ["1", None],
    "stage1_weight": [1, -0.1, math.nan],
}
TOGETHER = [
    ({"num_train_timesteps": 29}, "t_start"),
    ({"stage1_weight": 0.5, "start": "noise", "schedule": "linear", "t_start": 1000}, "stage1_weight"),
]


@pytest.mark.parametrize(
    ("changes", "named"),
    [*(({name: value}, name) for name, values in IMPOSSIBLE.items() for value in values), *TOGETHER],
)
def test_impossible_settings_are_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        SamplerSettings(**changes)


def test_numbers_of_other_libraries_become_plain_ones():
    s = SamplerSettings(t_start=np.int64(9), eta=np.float32(0.5)).changed(seed=np.uint8(7), eta=1)
    assert json.loads(json.dumps(vars(s)))["seed"] == 7
    assert {type(s.t_start), type(s.seed), type(s.eta)} == {int, float}


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
    "stated",
    [
        {"ddim_steps": 21},
        {"fusion_steps": 7},
        {"t_start": 3, "ddim_steps": 4},
        {"t_start": 0},
        {"t_start": "3"},
    ],
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
