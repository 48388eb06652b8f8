"""What the cells of a table show, and by what they are sorted."""

from __future__ import annotations

import math

import pytest

from nnunetv2_spinesegdiff.pages.cells import (
    mean_and_spread,
    p_value,
    with_brackets,
    with_digits,
    with_interval,
)
from nnunetv2_spinesegdiff.pages.tables import is_missing
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
