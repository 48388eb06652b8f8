"""What cells show, and by what they are sorted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.report.cells import (
    grid_of,
    is_blank,
    mean_and_spread,
    number_in,
    p_value,
    with_interval,
)
from nnunetv2_spinesegdiff.evaluation.report.page import Cell, Table
from nnunetv2_spinesegdiff.text import MINUS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0.91 ± 0.03", 0.91), ("12 (34 %)", 12), ("34.5 %", 34.5), ("-0.5", -0.5), ("1,234", 1234)),
        *((f"{MINUS}0.5 [{MINUS}1.0, 0.0]", -0.5), ("+0.012 [0.004, 0.020]", 0.012), ("1e-05", 1e-5)),
        *(("3 of 7", 3), ("12 mm", 12), ("5 to 9", 5), ("3/7", 3), ("0.03 *", 0.03), ("  7 ", 7)),
        *((text, None) for text in ("3_t1", "2D", "T1w", "n/a", "", "1.2.3", "12 months ago", "0-5 x", "-")),
    ],
)
def test_numbers_are_read_out_of_texts(text, value):
    assert number_in(text) == value


def test_below_is_before():
    assert number_in("< 0.001") == pytest.approx(0.001)
    assert (number_in("< 0.001") or 1) < 0.001


def column(*values):
    grid = grid_of(Table(pd.DataFrame({"x": list(values)}, dtype=object), ""))
    return grid.columns[0].numeric, [row[0] for row in grid.rows]


def test_a_column_of_numbers_and_missing_values_is_numeric():
    numeric, cells = column("0.91 ± 0.03", "n/a", math.nan, None, "", 0.5, np.int64(3), Cell("n/a (0)", None))
    assert numeric
    assert [cell.text for cell in cells] == ["0.91 ± 0.03", "n/a", "n/a", "n/a", "", "0.5", "3", "n/a (0)"]
    assert [is_blank(cell) for cell in cells] == [False, True, True, True, True, False, False, True]
    for texts in (("1", "a"), ("n/a", None), (True, False), ("case 1", "case 2")):
        assert not column(*texts)[0]
    assert [cell.text for cell in column(True, np.bool_(False))[1]] == ["yes", "no"]
    assert grid_of(Table(pd.DataFrame({"a": []}), "")).rows == ()


def test_an_index_is_shown_where_it_has_a_meaning():
    frame = pd.DataFrame({"n": [0.123456, 2.0]})
    grid = grid_of(Table(frame.iloc[::-1], "", {"n": 2}))
    assert [c.heading for c in grid.columns] == ["n"]
    assert [row[0].text for row in grid.rows] == ["2.00", "0.12"]
    assert grid.rows[1][0].value == 0.123456, "sorted by what it is, not by what is shown"
    named = frame.set_axis(["male", "female"], axis=0)
    assert [cell.text for cell in grid_of(Table(named, "")).rows[1]] == ["female", "2"]
    assert grid_of(Table(named.rename_axis("sex"), "")).columns[0].heading == "sex"
    grouped = pd.DataFrame({("age", "mean"): [1.5]}, index=pd.MultiIndex.from_tuples([("f", "T1w")]))
    assert [cell.text for cell in grid_of(Table(grouped, "")).rows[0]] == ["f", "T1w", "1.5"]


def test_cells_of_statistics():
    assert mean_and_spread(0.914, 0.026, 2) == Cell("0.91 ± 0.03", 0.914)
    assert mean_and_spread(0.914, math.nan, 2).text == "0.91"
    assert mean_and_spread(math.nan, math.nan, 2) == Cell("n/a", None)
    assert with_interval(0.5, 0.25, 0.75, 2, signed=True).text == "+0.50 [0.25, 0.75]"
    assert with_interval(0.5, math.nan, math.nan, 2).text == "0.50"
    assert [p_value(p).text for p in (0.0004, 0.001, 0.25, math.nan)] == ["< 0.001", "0.001", "0.250", "n/a"]
