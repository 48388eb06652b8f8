"""What the cells of a page show, and by what they are sorted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.cells import (
    Cell,
    mean_and_spread,
    p_value,
    with_brackets,
    with_digits,
    with_interval,
)
from nnunetv2_spinesegdiff.evaluation.report.html import columns_of, is_missing
from nnunetv2_spinesegdiff.text import MINUS


@pytest.mark.parametrize(
    ("cell", "text", "value"),
    [
        (mean_and_spread(0.914, 0.026, 2), "0.91 ± 0.03", 0.914),
        (mean_and_spread(0.914, math.nan, 2), "0.91", 0.914),
        (with_brackets(mean_and_spread(0.914, 0.026, 2), 7), "0.91 ± 0.03 (7)", 0.914),
        (with_interval(-0.5, -0.75, 0.25, 2, signed=True), f"{MINUS}0.50 [{MINUS}0.75, 0.25]", -0.5),
        (with_interval(0.5, math.nan, math.nan, 2), "0.50", 0.5),
        (p_value(0.0004), "< 0.001", 0.0004),
        (p_value(0.25), "0.250", 0.25),
        (with_digits(math.nan, 3), "n/a", None),
        (with_brackets(p_value(math.nan), 0), "n/a (0)", None),
    ],
)
def test_a_cell_is_formatted_once_and_sorted_by_its_value(cell, text, value):
    assert (cell.text, cell.value) == (text, value)
    assert str(cell) == text
    assert is_missing(cell) == (value is None)


def column(*values):
    (made,) = columns_of(pd.DataFrame({"x": list(values)}, dtype=object))
    return made


def test_a_column_of_values_and_missing_cells_is_numeric():
    made = column(
        Cell("0.91 ± 0.03", 0.91), "n/a", math.nan, None, "", 0.5, np.int64(-3), Cell("n/a (0)", None)
    )
    assert made.numeric
    texts = ["0.91 ± 0.03", "n/a", "n/a", "n/a", "", "0.5", f"{MINUS}3", "n/a (0)"]
    assert [cell.text for cell in made.cells] == texts
    assert [is_missing(cell) for cell in made.cells] == [False, True, True, True, True, False, False, True]
    for values in (("1", "2"), (1, "a"), ("n/a", None), ("0.91 ± 0.03", "0.5")):
        assert not column(*values).numeric, "texts are not parsed"
    assert columns_of(pd.DataFrame({"a": []}))[0].cells == ()
