"""What a user may choose about a prediction, by flags, and what is refused by name."""

from __future__ import annotations

import argparse

import pytest
import torch

from nnunetv2_spinesegdiff.diffusion.settings import PRESETS, SamplerSettings
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference import settings as module
from nnunetv2_spinesegdiff.inference.flags import SAMPLER, add_sampling_flags, sampling_choices
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings, autocast, check_precision
from nnunetv2_spinesegdiff.measures import ERROR, VARIANCE

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TRAINED = SamplerSettings(t_start=30, ddim_steps=2, fusion_steps=2, eta=0.25, seed=4)


def choices(words: str) -> dict:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_sampling_flags(parser)
    return sampling_choices(parser.parse_args(words.split()))


def sampler(words: str) -> SamplerSettings:
    """The sampler that flags make of the one that a model was trained with."""
    return PredictionSettings(**choices(words)).sampler(TRAINED)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--num_samples 5", {"num_samples": 5}),
        ("--t_start 10", {"t_start": 10}),
        ("--t_start 1", {"t_start": 1, "ddim_steps": 1, "fusion_steps": 1}),  # n and T_s follow T down
        ("--ddim_steps 10 --fusion_steps 10", {"ddim_steps": 10, "fusion_steps": 10}),
        ("--ddim_steps 1", {"ddim_steps": 1, "fusion_steps": 1}),
        ("--fusion_steps 1", {"fusion_steps": 1}),
        ("--eta 1 --seed 9", {"eta": 1.0, "seed": 9}),
        ("--eta 0", {"eta": 0.0}),  # 0 is a value, not an absence
        ("--preset fast", {"num_samples": 1, "ddim_steps": 1, "fusion_steps": 1}),
        ("--preset balanced", {"num_samples": 1, "ddim_steps": 2, "fusion_steps": 2}),
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
    ("words", "named"),
    [
        ("--t_start 31", "t_start 31.*_T31"),
        ("--t_start 31 --preset paper", "t_start 31"),
        ("--t_start 1001", "t_start 1001.*_N1001"),
        ("--t_start 0", "t_start = 0"),
        ("--ddim_steps 31", "ddim_steps = 31"),
        ("--t_start 5 --ddim_steps 6", "ddim_steps = 6"),
        ("--fusion_steps 3", "fusion_steps = 3"),
        ("--preset fast --fusion_steps 2", "fusion_steps = 2"),
        ("--num_samples 0", "num_samples = 0"),
        ("--eta -0.1", r"eta = -0\.1"),
        ("--eta nan", "eta = nan"),
    ],
)
def test_impossible_values_are_refused_by_name_in_one_line(words, named):
    with pytest.raises(UserError, match=named) as refused:
        sampler(words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [*SAMPLER, "preset"])
def test_without_refinement_a_flag_of_the_sampler_is_refused_by_name(name):
    given = choices(f"--{name} {'fast' if name == 'preset' else 0}")
    with pytest.raises(UserError, match=rf"^{name}: .*refine") as refused:
        PredictionSettings(refine=False, **given)
    assert "\n" not in str(refused.value)
    PredictionSettings(refine=True, **given)
    assert PredictionSettings(refine=False, **choices("--precision bfloat16")).precision == "bfloat16"


def test_presets_differ_in_what_is_mirrored():
    assert PredictionSettings().mirrored == "everything"
    mirrored = {name: PredictionSettings(preset=name).mirrored for name in PRESETS}
    assert mirrored == {"fast": "nothing", "balanced": "stage 1", "paper": "everything"}


# --- precision -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "avx512_bf16", "amx", "has_it"),
    [
        ("AVX2", False, False, False),
        ("AVX512", False, False, False),  # has AVX512, but would emulate bfloat16
        ("AVX512", True, False, True),
        ("AVX512", False, True, True),
    ],
)
def test_bfloat16_needs_a_cpu_that_multiplies_in_it(monkeypatch, capability, avx512_bf16, amx, has_it):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert module._cpu_has_bfloat16() is has_it
    check_precision("float32", CPU)
    if has_it:
        check_precision("bfloat16", CPU)
    else:
        with pytest.raises(UserError, match=r"^precision bfloat16: .*CPU"):
            check_precision("bfloat16", CPU)


def test_bfloat16_needs_a_gpu_that_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    with pytest.raises(UserError, match=r"^precision bfloat16: .*GPU"):
        check_precision("bfloat16", CUDA)
    check_precision("auto", CUDA)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    check_precision("bfloat16", CUDA)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_networks_compute_in_the_precision_that_was_asked_for(precision, expected):
    with autocast(precision, CPU):
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == expected


def test_the_map_shows_the_probability_of_a_wrong_label_unless_the_paper_s_is_chosen():
    assert PredictionSettings().measure(VARIANCE) == ERROR
    assert PredictionSettings(uncertainty_map="paper").measure(VARIANCE) == VARIANCE
    with pytest.raises(UserError, match=r"uncertainty map 'variance'.*error, paper"):
        PredictionSettings(uncertainty_map="variance")
