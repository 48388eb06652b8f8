"""Counts of what was found."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.evaluation.found_counts import FOUND, count_found

ROWS = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("xy"), st.sampled_from(FOUND)), max_size=40)


def table_of(rows):
    columns = {"system": [r[0] for r in rows], "data": "d", "structure": [r[1] for r in rows]}
    return pd.DataFrame({**columns, "found": [r[2] for r in rows]})


@given(rows=ROWS)
def test_every_case_is_counted_once(rows):
    made = count_found(table_of(rows), [("B", "d"), ("A", "d")])
    expected = Counter(rows)
    counted = {
        (row["system"], row["structure"], found): row[found]
        for row in made.to_dict("records")
        for found in FOUND
        if row[found]
    }
    assert counted == expected
    assert (made[list(FOUND)].sum(axis=1) == made["cases"]).all()
    assert list(made["system"]) == sorted(made["system"], reverse=True), "in the order of the names"


def test_other_data_are_not_counted_and_other_words_are_rejected():
    assert count_found(table_of([("A", "x", "both")]), [("A", "other")]).empty
    with pytest.raises(ValueError, match="perhaps"):
        count_found(table_of([("A", "x", "perhaps")]), [("A", "d")])
