"""The table of stage 1 beside the refined result."""

from __future__ import annotations

import json
import math

import pytest

from nnunetv2_spinesegdiff.training.report import as_lines, compare


def summary(tmp_path, name, mean, foreground_mean, cases=3):
    """A `summary.json` as nnU-Net's evaluation writes it, NaN included."""
    content = {
        "foreground_mean": {"Dice": foreground_mean},
        "mean": {key: {"Dice": dice, "IoU": 0.1} for key, dice in mean.items()},
        "metric_per_case": [{}] * cases,
    }
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_classes_are_named_and_compared(tmp_path):
    stage1 = summary(tmp_path, "stage1", {"1": 0.5, "2": 0.75}, 0.625)
    refined = summary(tmp_path, "refined", {"1": 0.75, "2": 0.5}, 0.625)
    report = compare(stage1, refined, {"background": 0, "canal": 1, "disc": 2, "ignore": 3}, 0)
    assert report == {
        "fold": 0,
        "cases": 3,
        "dice": {
            "canal": {"stage1": 0.5, "refined": 0.75, "difference": 0.25},
            "disc": {"stage1": 0.75, "refined": 0.5, "difference": -0.25},
            "mean": {"stage1": 0.625, "refined": 0.625, "difference": 0.0},
        },
    }
    lines = as_lines(report)
    assert "3 validation cases" in lines[0]
    assert [line.split() for line in lines[1:]] == [
        ["canal", "0.5000", "0.7500", "0.2500"],
        ["disc", "0.7500", "0.5000", "-0.2500"],
        ["mean", "0.6250", "0.6250", "0.0000"],
    ]


def test_fold_all_is_said_to_be_measured_on_its_own_training_cases(tmp_path):
    first, second = (summary(tmp_path, name, {"1": 0.5}, 0.5) for name in ("a", "b"))
    lines = [as_lines(compare(first, second, {"disc": 1}, fold))[0] for fold in ("all", 0)]
    assert lines[0].startswith("Dice on 3 training cases ")
    assert lines[1].startswith("Dice on 3 validation cases ")
    assert len(lines[0]) == len(lines[1])


def test_a_class_that_never_occurs_has_no_dice(tmp_path):
    first, second = (summary(tmp_path, name, {"1": math.nan}, math.nan) for name in ("a", "b"))
    report = compare(first, second, {"canal": 1}, 0)
    assert report["dice"]["canal"] == {"stage1": None, "refined": None, "difference": None}
    json.loads(json.dumps(report, allow_nan=False))
    assert as_lines(report)[1].split() == ["canal", "n/a", "n/a", "n/a"]


def test_the_mean_is_over_the_classes_that_both_have(tmp_path):
    stage1 = summary(tmp_path, "stage1", {"1": math.nan, "2": 0.5, "3": 0.25}, math.nan)
    refined = summary(tmp_path, "refined", {"1": 0.0, "2": 1.0, "3": 0.75}, 0.5)
    report = compare(stage1, refined, {"canal": 1, "bone": 2, "disc": 3}, 0)
    assert report["dice"]["mean"] == {"stage1": 0.375, "refined": 0.875, "difference": 0.5}


@pytest.mark.parametrize(("dice", "warned"), [(0.49, True), (0.5, False), (None, False)])
def test_a_useless_model_is_reported(dice, warned):
    row = {"stage1": 0.9, "refined": dice, "difference": None}
    lines = as_lines({"fold": 0, "cases": 3, "dice": {"mean": row}})
    assert len(lines) == 2 + warned
    assert ("of no use" in lines[-1]) == warned
