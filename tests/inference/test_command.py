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


@pytest.mark.parametrize("words", [[], ["--ref"], ["--no_ref"], ["--refined"]], ids=str)
def test_without_a_flag_to_the_letter_the_stock_command_runs_untouched(called, words):
    before = sys.argv
    command.predict([*STOCK_WORDS, *words])
    assert called["words"] == ["nnUNetv2_predict", *STOCK_WORDS, *words]
    assert called["predictor"] is nnUNetPredictor
    assert sys.argv is before


SAMPLING = "--preset paper --num_samples 3 --t_start 20 --precision bfloat16 --save_uncertainty"


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ("--refine", PredictionSettings()),
        ("--no_refine", PredictionSettings(refine=False)),
        ("--save_uncertainty", PredictionSettings(save_uncertainty=True)),
        ("--seed 0", PredictionSettings(changes={"seed": 0})),
        ("--precision auto", PredictionSettings()),
        (SAMPLING, PredictionSettings(True, "paper", {"num_samples": 3, "t_start": 20}, "bfloat16", True)),
    ],
)
@pytest.mark.parametrize("position", [0, 4, len(STOCK_WORDS)])
def test_a_flag_chooses_our_predictor_and_is_taken_out(called, flags, settings, position):
    command.predict([*STOCK_WORDS[:position], *flags.split(), *STOCK_WORDS[position:]])
    assert called["words"] == ["nnUNetv2_predict", *STOCK_WORDS]
    assert isinstance(called["made"], SpineSegDiffPredictor)
    assert called["made"].settings == settings
    assert stock.nnUNetPredictor is nnUNetPredictor


def test_flags_that_contradict_are_refused(called, capsys):
    with pytest.raises(UserError, match="preset, seed: "):
        command.predict([*STOCK_WORDS, "--no_refine", "--seed", "1", "--preset", "fast"])
    with pytest.raises(SystemExit) as end:
        command.predict([*STOCK_WORDS, "--refine", "--no_refine"])
    with pytest.raises(UserError, match=r"--uncertainty_map.*add --save_uncertainty"):
        command.predict([*STOCK_WORDS, "--uncertainty_map", "paper"])
    assert end.value.code == 2
    assert not called
    assert capsys.readouterr().err.startswith("nnUNetv2_predict: error: argument --no_refine")


@pytest.mark.parametrize("failures", [[], ["a_0000.mha: is constant", "b_0000.mha: holds NaN or Inf"]])
def test_cases_that_were_left_out_are_one_line_and_status_1(called, capsys, monkeypatch, failures):
    called["failures"] = failures
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", *STOCK_WORDS, "--refine"])
    monkeypatch.setenv("nnUNet_extTrainer", "")
    assert command.main() == bool(failures)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == bool(failures)
    for line in errors:
        assert line.startswith("error: ")
        assert all(name in line for name in ("a_0000.mha", "b_0000.mha"))
