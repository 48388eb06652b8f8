"""Two systems case by case: points, the line of equals, and the numbers above."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.plots.pairs import draw_pairs

NAMES = ("stage 1", "refined")


def pairs(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"structure": "ivd", "contrast": "T1w", **columns})


def test_points_lie_where_the_scores_are_and_above_the_line_where_the_second_is_better(drawn, check_print):
    rng = np.random.default_rng(0)
    first = rng.uniform(0.5, 0.9, 40)
    table = pairs(first=first, second=first + rng.normal(0, 0.03, 40), contrast=["T1w", "T2w"] * 20)
    (axis,) = (figure := drawn(draw_pairs, table, NAMES)).axes
    equals, *points = axis.lines
    np.testing.assert_array_equal(equals.get_xdata(), equals.get_ydata())
    for line, contrast in zip(points, ("T1w", "T2w"), strict=True):
        of = table[table["contrast"] == contrast]
        np.testing.assert_array_equal(line.get_xdata(), of["first"])
        np.testing.assert_array_equal(line.get_ydata(), of["second"])
    assert points[0].get_marker() != points[1].get_marker()
    pixels = np.concatenate([axis.transData.transform(line.get_xydata()) for line in points])
    corner = axis.transData.transform((0.5, 0.5))
    above = int((np.diff(pixels - corner)[:, 0] > 1e-9).sum())
    assert f"above the line {100 * above / 40:.0f} % of 40" in axis.get_title()
    assert axis.get_xlim() == axis.get_ylim()
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("Dice, stage 1", "Dice, refined")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["T1w", "T2w"]
    check_print(figure)


def test_numbers_count_ties_apart_and_leave_out_cases_without_dice(drawn):
    table = pairs(first=[0.5, 0.5, 0.5, 0.5, np.nan], second=[0.6, 0.5, 0.4, np.nan, 0.9])
    title = drawn(draw_pairs, table, NAMES).axes[0].get_title()
    assert title == "ivd\nabove the line 33 %, on it 33 % of 3\nmean difference +0.000"
    table = pairs(first=[0.5, 0.6], second=[0.4, 0.5])
    assert drawn(draw_pairs, table, NAMES).axes[0].get_title().endswith("0 % of 2\nmean difference -0.100")


def test_unknown_contrasts_look_alike(drawn):
    figure = drawn(draw_pairs, pairs(first=[0.5], second=[0.6], contrast=["SPACE"]), NAMES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["contrast unknown"]
    assert len(figure.axes[0].lines) == 2


@pytest.mark.parametrize("structures", [1, 4, 7])
def test_the_panels_of_structures_fit_a_page(drawn, check_print, structures):
    one = pairs(first=[0.1, 0.5, 0.9, 1.0], second=[0.1, 0.6, 0.9, 1.0])
    table = pd.concat([one.assign(structure=f"structure_{i}") for i in range(structures)])
    names = ("SpineSegDiff without image encoder (T1w+T2w)", "SpineSegDiff (T1w+T2w)")
    figure = drawn(draw_pairs, table, names)
    assert len(figure.axes) == structures
    titles = [axis.title.get_window_extent() for axis in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
    check_print(figure)
