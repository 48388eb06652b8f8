"""Dice and seconds by depth, the intervals against scipy's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnunetv2_spinesegdiff.plots.depth import draw_depth, means

DEPTHS = (0, 30, 100, 300, 500, 1000)


def scores(cases: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"depth": depth, "structure": structure, "dice": rng.beta(20, 2)}
            for depth in DEPTHS[::-1]
            for structure in ("spinal_canal", "ivd")
            for _ in range(cases)
        ]
    )


@pytest.mark.parametrize("cases", [2, 5, 50])
def test_intervals_are_students(cases):
    table = scores(cases)
    computed = means(table)
    for depth in DEPTHS:
        dice = table.loc[table["depth"] == depth, "dice"]
        interval = stats.t.interval(0.95, len(dice) - 1, dice.mean(), stats.sem(dice))
        assert computed.loc[depth, ["low", "high"]].tolist() == pytest.approx(list(interval))
        assert computed.loc[depth, "mean"] == pytest.approx(dice.mean())


def test_means_lie_over_their_depth_and_seconds_on_a_panel_of_their_own(drawn, check_print):
    table = scores()
    seconds = {0: 0.6, 30: 4.0, 1000: 96.0, 7: 1.0}
    figure = drawn(draw_depth, table, seconds=seconds)
    dice, time = figure.axes
    lines = [container.lines[0] for container in dice.containers]
    for line, structure in zip(lines, ("spinal_canal", "ivd"), strict=True):
        of = table[table["structure"] == structure].groupby("depth")["dice"].mean()
        np.testing.assert_array_equal(line.get_xdata(), DEPTHS)
        np.testing.assert_allclose(line.get_ydata(orig=False), of.loc[list(DEPTHS)])
    assert len({line.get_marker() for line in lines}) == 2
    low, high = dice.get_ylim()
    assert low < means(table.query("structure == 'ivd'"))["low"].min()
    assert high > means(table.query("structure == 'ivd'"))["high"].max()
    assert list(time.lines[0].get_xdata()) == [0, 30, 1000], "a depth without scores is none of the figure's"
    assert [text.get_text() for text in time.texts] == ["0.6", "4", "96"]
    assert time.get_yscale() == "log"
    for axis in figure.axes:
        assert [label.get_text() for label in axis.get_xticklabels()] == [str(depth) for depth in DEPTHS]
        at = axis.transData.transform([(depth, 0.5) for depth in DEPTHS])[:, 0]
        np.testing.assert_allclose(np.diff(at) / np.diff(np.sqrt(DEPTHS)), (at[-1] - at[0]) / np.sqrt(1000))
    check_print(figure)


def test_the_panel_of_seconds(drawn, check_print):
    for seconds in (None, {7: 1.0}):
        figure = drawn(draw_depth, scores(5), seconds=seconds)
        assert len(figure.axes) == 1
        check_print(figure)
    axis = drawn(draw_depth, scores(5), seconds={0: 1.0, 30: 3.0}).axes[1]
    assert axis.get_yscale() == "linear", "times alike"
    assert axis.get_ylim()[0] == 0
    single = means(pd.DataFrame({"depth": [30, 100, 100], "dice": [0.7, 0.8, 0.8]}))
    assert (single["low"] == single["mean"]).all(), "a single case has no interval"


def test_a_structure_without_scores_is_left_out(drawn):
    table = scores()
    table.loc[table["structure"] == "ivd", "dice"] = np.nan
    assert len(drawn(draw_depth, table).axes[0].containers) == 1
