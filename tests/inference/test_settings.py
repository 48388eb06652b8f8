"""What a user may choose about a prediction, and the one line that refuses what cannot be."""

from __future__ import annotations

import argparse

import pytest
import torch

from nnunetv2_spinesegdiff.diffusion.settings import PRESETS, SamplerSettings
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference import settings as module
from nnunetv2_spinesegdiff.inference.flags import add_sampling_flags, sampling_choices
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings, autocast, check_precision

CPU = torch.device("cpu")
TRAINED = SamplerSettings(t_start=30, ddim_steps=2, fusion_steps=2, eta=0.25, seed=4)


def sampler(words: str) -> SamplerSettings:
    """The sampler that flags make of the one that a model was trained with."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_sampling_flags(parser)
    return PredictionSettings(**sampling_choices(parser.parse_args(words.split()))).sampler(TRAINED)


def test_without_flags_it_is_the_models_own():
    assert sampler("") == TRAINED


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--num_samples 5", {"num_samples": 5}),
        ("--t_start 10", {"t_start": 10}),
        ("--t_start 1", {"t_start": 1, "ddim_steps": 1, "fusion_steps": 1}),  # n and T_s follow T down
        ("--ddim_steps 10", {"ddim_steps": 10}),
        ("--ddim_steps 10 --fusion_steps 10", {"ddim_steps": 10, "fusion_steps": 10}),
        ("--ddim_steps 1", {"ddim_steps": 1, "fusion_steps": 1}),
        ("--fusion_steps 1", {"fusion_steps": 1}),
        ("--eta 1 --seed 9", {"eta": 1.0, "seed": 9}),
        ("--eta 0", {"eta": 0.0}),  # 0 is a value, not an absence
        ("--preset fast", {"num_samples": 1, "ddim_steps": 1, "fusion_steps": 1}),
        ("--preset balanced", {"num_samples": 1, "ddim_steps": 2, "fusion_steps": 2}),
        ("--preset paper", {"num_samples": 15, "ddim_steps": 10, "fusion_steps": 10}),
        ("--preset paper --num_samples 2", {"num_samples": 2, "ddim_steps": 10, "fusion_steps": 10}),
        (
            "--preset paper --t_start 4",
            {"num_samples": 15, "ddim_steps": 4, "fusion_steps": 4, "t_start": 4},
        ),
    ],
)
def test_flags_change_what_they_name(words, expected):
    assert vars(sampler(words)) == {**vars(TRAINED), **expected}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--t_start 31", r"t_start 31 is deeper than 30, .*choose 1 to 30, or train with .*_T31"),
        ("--t_start 31 --preset paper", r"t_start 31 is deeper than 30"),
        ("--t_start 0", r"t_start = 0 is outside 1\.\."),
        ("--ddim_steps 31", r"ddim_steps = 31 is outside 1\.\.t_start = 1\.\.30"),
        ("--t_start 5 --ddim_steps 6", r"ddim_steps = 6 is outside 1\.\.t_start = 1\.\.5"),
        ("--ddim_steps 0", r"ddim_steps = 0 is outside"),
        ("--fusion_steps 3", r"fusion_steps = 3 is outside 1\.\.ddim_steps = 1\.\.2"),
        ("--preset fast --fusion_steps 2", r"fusion_steps = 2 is outside 1\.\.ddim_steps = 1\.\.1"),
        ("--fusion_steps 0", r"fusion_steps = 0 is outside"),
        ("--num_samples 0", r"num_samples = 0 is outside 1, 2"),
        ("--eta -0.1", r"eta = -0\.1 is outside \[0, 1\]"),
        ("--eta 1.5", r"eta = 1\.5 is outside"),
        ("--eta nan", r"eta = nan is outside"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, told):
    with pytest.raises(UserError, match=told) as refused:
        sampler(words)
    assert "\n" not in str(refused.value)


def test_only_the_fast_preset_refines_once_for_all_mirrored_copies():
    assert PredictionSettings().mirror_refinement
    refines = {name: PredictionSettings(preset=name).mirror_refinement for name in PRESETS}
    assert refines == {"fast": False, "balanced": True, "paper": True}


def test_bfloat16_is_refused_where_it_would_be_emulated(monkeypatch):
    monkeypatch.setattr(module, "_cpu_has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="this CPU has no bfloat16"):
        check_precision("bfloat16", CPU)
    for precision in ("auto", "float32"):
        check_precision(precision, CPU)
    monkeypatch.setattr(module, "_cpu_has_bfloat16", lambda: True)
    check_precision("bfloat16", CPU)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_networks_compute_in_the_precision_that_was_asked_for(precision, expected):
    with autocast(precision, CPU):
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == expected
