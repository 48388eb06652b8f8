"""Flags of a prediction: each is refused by name where nothing is sampled, or where no hardware serves it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest
import torch

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference import settings as module
from nnunetv2_spinesegdiff.inference.flags import SAMPLER, add_sampling_flags, sampling_choices
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings, autocast, check_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def choices(words: str) -> dict:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_sampling_flags(parser)
    return sampling_choices(parser.parse_args(words.split()))


def test_flags_that_are_not_given_state_nothing():
    assert choices("") == {}


@pytest.mark.parametrize("name", SAMPLER)
def test_every_flag_of_the_sampler_is_stated_even_as_0(name):
    (value,) = choices(f"--{name} 0")["changes"].items()
    assert value == (name, 0)


@pytest.mark.parametrize("name", [*SAMPLER, "preset"])
def test_without_refinement_a_flag_of_the_sampler_is_refused_by_name(name):
    given = choices(f"--{name} {'fast' if name == 'preset' else 0}")
    with pytest.raises(UserError, match=f"^{name}: nothing is sampled without refinement") as refused:
        PredictionSettings(refine=False, **given)
    assert "\n" not in str(refused.value)
    PredictionSettings(refine=True, **given)


def test_without_refinement_precision_is_still_a_choice():
    assert PredictionSettings(refine=False, **choices("--precision bfloat16")).precision == "bfloat16"


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
    if has_it:
        check_precision("bfloat16", CPU)
    else:
        with pytest.raises(UserError, match=r"^precision bfloat16: this CPU has no bfloat16"):
            check_precision("bfloat16", CPU)


def test_bfloat16_needs_a_gpu_that_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    with pytest.raises(UserError, match=r"^precision bfloat16: this GPU has no bfloat16"):
        check_precision("bfloat16", CUDA)
    check_precision("auto", CUDA)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    check_precision("bfloat16", CUDA)


@pytest.fixture
def as_in_nnunets_loop() -> Iterator[None]:
    """Around the network nnU-Net switches on float16 for CUDA; the switch is there without a GPU, too."""
    torch.set_autocast_enabled("cuda", True)
    yield
    torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize(("precision", "enabled"), [("auto", True), ("float32", False)])
def test_float32_switches_nnunets_float16_off_on_cuda(as_in_nnunets_loop, precision, enabled):
    with autocast(precision, CUDA):
        assert torch.is_autocast_enabled("cuda") is enabled
    assert torch.is_autocast_enabled("cuda")


def test_help_keeps_the_letters_of_what_has_capitals():
    parser = argparse.ArgumentParser()
    add_sampling_flags(parser)
    told = " ".join(parser.format_help().split())
    assert "0 (DDIM) to 1." in told
    assert "1 to T." in told
