"""How numbers, lists, tables and exceptions are written."""

from __future__ import annotations

import errno
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.text import (
    MINUS,
    enumerated,
    listed,
    markdown_table,
    mean_and_spread,
    number,
    p_statement,
    p_value,
    reason_of,
    with_interval,
)


@given(value=st.floats(-1e3, 1e3), digits=st.integers(0, 4))
def test_signs(value, digits):
    text = number(value, digits, signed=True)
    back = float(text.replace(MINUS, "-"))
    assert back == pytest.approx(round(value, digits))
    assert text.startswith("+" if back > 0 else MINUS if back < 0 else "0")
    assert "-" not in text


def test_numbers():
    assert number(-0.126, 2) == f"{MINUS}0.13"
    assert number(math.nan, 2) == "n/a"
    assert mean_and_spread(0.914, 0.026, 2) == "0.91 ± 0.03"
    assert mean_and_spread(0.914, math.nan, 2) == "0.91"
    assert with_interval(0.5, 0.25, 0.75, 2, signed=True) == "+0.50 [0.25, 0.75]"
    assert with_interval(0.5, math.nan, math.nan, 2) == "0.50"


@pytest.mark.parametrize(
    ("p", "written", "stated"),
    [
        (0.0004, "< 0.001", "p < 0.001"),
        (0.001, "0.001", "p = 0.001"),
        (0.25, "0.250", "p = 0.250"),
        (math.nan, "n/a", "p = n/a"),
    ],
)
def test_p_values(p, written, stated):
    assert (p_value(p), p_statement(p)) == (written, stated)


def test_lists():
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed(["a", "b"], 2) == "a, b"
    assert enumerated(["a"]) == "a"
    assert enumerated(["a, b", "c"]) == "a, b and c"
    assert enumerated(["a, b", "c", "d"]) == "a, b; c; and d"


def test_markdown():
    assert markdown_table(["a|b", "n"], [("x|y", 1), (None, math.nan)]).splitlines() == [
        "| a\\|b | n |",
        "| --- | --- |",
        "| x\\|y | 1 |",
        "| n/a | n/a |",
    ]


@pytest.mark.parametrize(
    ("error", "reason", "with_type"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a"),
            "No space left on device",
            "OSError: [Errno 28] No space left on device: 'a'",
        ),
        (ValueError("in file.cxx:\n  too large\n"), "too large", "ValueError:   too large"),
        (KeyError("shape"), "'shape'", "KeyError: 'shape'"),
        (MemoryError(), "MemoryError", "MemoryError"),
    ],
)
def test_the_reason_is_one_line(error, reason, with_type):
    assert reason_of(error).strip() == reason
    assert reason_of(error, with_type=True) == with_type
