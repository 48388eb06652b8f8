"""How the columns of a table become cells of a page."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from nnunetv2_spinesegdiff.evaluation.report.html import columns_of
from nnunetv2_spinesegdiff.pages.cells import (
    Cell,
)
from nnunetv2_spinesegdiff.pages.tables import is_missing
from nnunetv2_spinesegdiff.text import MINUS


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
