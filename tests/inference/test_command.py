"""Our flags on `nnUNetv2_predict`: with one of them our predictor, without any the stock command."""

from __future__ import annotations

import sys
from unittest import mock

import pytest
from nnunetv2.inference import predict_from_raw_data as stock
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference import command
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings

STOCK_WORDS = ["-i", "in", "-o", "out", "-d", "501", "-c", "2d", "-f", "0", "--disable_tta", "-npp", "0"]


@pytest.fixture
def called(monkeypatch) -> dict:
    """What the stock entry point sees: the words and the predictor it would build."""
    seen: dict = {}

    def entry_point() -> None:
        seen["words"] = list(sys.argv)
        seen["predictor"] = stock.nnUNetPredictor
        if stock.nnUNetPredictor is not nnUNetPredictor:
            seen["made"] = stock.nnUNetPredictor(device=mock.Mock(type="cpu"), allow_tqdm=False)
            seen["made"].failures += seen.get("failures", [])

    monkeypatch.setattr(stock, "predict_entry_point", entry_point)
    monkeypatch.setattr(command, "check_before_prediction", lambda words: None)
    return seen


def test_without_a_flag_the_stock_command_runs_untouched(called):
    before = sys.argv
    command.predict(STOCK_WORDS)
    assert called["words"] == ["nnUNetv2_predict", *STOCK_WORDS]
    assert called["predictor"] is nnUNetPredictor
    assert sys.argv is before


@pytest.mark.parametrize(("flag", "refine"), [("--refine", True), ("--no_refine", False)])
@pytest.mark.parametrize("position", [0, 4, len(STOCK_WORDS)])
def test_a_flag_chooses_our_predictor_and_is_taken_out(called, flag, refine, position):
    words = [*STOCK_WORDS[:position], flag, *STOCK_WORDS[position:]]
    command.predict(words)
    assert called["words"] == ["nnUNetv2_predict", *STOCK_WORDS]
    assert isinstance(called["made"], SpineSegDiffPredictor)
    assert called["made"].settings.refine is refine
    assert stock.nnUNetPredictor is nnUNetPredictor


def test_flags_of_the_sampler_reach_the_predictor(called):
    flags = "--preset paper --num_samples 3 --t_start 20 --precision bfloat16 --save_uncertainty"
    command.predict([*flags.split(), *STOCK_WORDS])
    assert called["words"] == ["nnUNetv2_predict", *STOCK_WORDS]
    assert called["made"].settings == PredictionSettings(
        preset="paper",
        changes={"num_samples": 3, "t_start": 20},
        precision="bfloat16",
        save_uncertainty=True,
    )


@pytest.mark.parametrize("flag", ["--save_uncertainty", "--seed 0", "--precision auto", "--preset fast"])
def test_any_flag_of_ours_chooses_our_predictor(called, flag):
    command.predict([*STOCK_WORDS, *flag.split()])
    assert isinstance(called["made"], SpineSegDiffPredictor)
    assert called["made"].settings.refine is True


def test_sampling_without_refinement_is_refused(called):
    with pytest.raises(UserError, match=r"preset, seed: nothing is sampled without refinement"):
        command.predict([*STOCK_WORDS, "--no_refine", "--seed", "1", "--preset", "fast"])


def test_flags_that_contradict_are_refused(called, capsys):
    with pytest.raises(SystemExit) as end:
        command.predict([*STOCK_WORDS, "--refine", "--no_refine"])
    assert end.value.code == 2
    assert not called
    error = capsys.readouterr().err
    assert error.startswith("nnUNetv2_predict: error: argument --no_refine")
    assert "SUPPRESS" not in error


@pytest.mark.parametrize("word", ["--ref", "--no_ref", "--refined"])
def test_flags_are_not_guessed(called, word):
    """What is not one of our flags to the letter is left to the stock parser, which refuses it."""
    command.predict([*STOCK_WORDS, word])
    assert called["words"] == ["nnUNetv2_predict", *STOCK_WORDS, word]
    assert called["predictor"] is nnUNetPredictor


def test_cases_that_were_left_out_are_an_error_in_the_end(called):
    called["failures"] = ["a_0000.mha: is constant", "b_0000.mha: holds NaN or Inf"]
    with pytest.raises(UserError, match=r"2 case\(s\) left out.*a_0000\.mha.*b_0000\.mha"):
        command.predict([*STOCK_WORDS, "--refine"])


def test_errors_are_one_line_with_status_1(called, capsys, monkeypatch):
    called["failures"] = ["a_0000.mha: is constant"]
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", *STOCK_WORDS, "--refine"])
    monkeypatch.setenv("nnUNet_extTrainer", "")
    assert command.main() == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: 1 case(s) left out")


def test_a_run_without_failures_has_status_0(called, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", *STOCK_WORDS, "--no_refine"])
    monkeypatch.setenv("nnUNet_extTrainer", "")
    assert command.main() == 0
