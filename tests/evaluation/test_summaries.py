"""The table over the summaries of nnU-Net's evaluation."""

from __future__ import annotations

import json

import numpy as np

from nnunetv2_spinesegdiff.evaluation.summaries import mean_dice


def test_a_row_a_class_and_the_mean_of_those_that_all_have(tmp_path):
    paths = {}
    for system, dice in (("stage 1", [0.5, 0.25, np.nan]), ("refined", [0.75, 0.5, 1.0])):
        paths[system] = tmp_path / f"{system}.json"
        means = {str(i + 1): {"Dice": value} for i, value in enumerate(dice)}
        paths[system].write_text(json.dumps({"mean": means}))
    table = mean_dice(paths, {"canal": 1, "bone": 2, "disc": 3})
    assert list(table.index) == ["canal", "bone", "disc", "mean"]
    assert list(table.columns) == ["stage 1", "refined"]
    assert table.loc["canal"].tolist() == [0.5, 0.75]
    assert np.isnan(table.loc["disc", "stage 1"])
    assert table.loc["mean"].tolist() == [0.375, 0.625]
