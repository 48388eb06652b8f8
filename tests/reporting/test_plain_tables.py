"""Tables as plain text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.plain_tables import (
    listed,
    markdown_table,
    number,
    p_value,
    read_text_table,
)


def test_entries_stay_the_text_that_they_are(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffPatient,sex\n001,F \n2,\n".encode())
    table = read_text_table(tmp_path / "t.csv")
    assert list(table) == ["Patient", "sex"]
    assert table["Patient"].tolist() == ["001", "2"]
    assert table["sex"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "content",
    [None, b"", b"a,b\n1,2,3,4\n", b"a,b\n1,2,\n", b"a,b\n1\n5,6,7\n", b"a\n\xff\xfe\x00"],
)
def test_unreadable_tables_are_named_in_one_line(tmp_path, content):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: [^\n]*$"):
        read_text_table(path)


def test_markdown():
    table = pd.DataFrame({"a|b": ["x|y", None], "n": [1, 2]})
    assert markdown_table(table).splitlines() == [
        "| a\\|b | n |",
        "| --- | --- |",
        "| x\\|y | 1 |",
        "| n/a | 2 |",
    ]


def test_numbers_and_lists():
    assert number(-0.125, 2).startswith("\N{MINUS SIGN}0.1")
    assert number(float("nan"), 2) == "n/a"
    assert [p_value(p) for p in (0.5, 0.00009, np.nan)] == ["0.5000", "< 0.0001", "n/a"]
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed(["a", "b"], 2) == "a, b"
