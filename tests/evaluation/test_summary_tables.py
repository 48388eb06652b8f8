"""The paper's tables, means of cases and counts, from synthetic scores."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.evaluation.columns import FOUND
from nnunetv2_spinesegdiff.evaluation.summary_tables import (
    absence_note,
    as_csv,
    as_latex,
    as_markdown,
    by_contrast,
    case_means,
    cases_note,
    count_found,
    printed,
    summary_table,
)

NAN = np.nan
NAMES = [("B", "T1w"), ("A", "T2w")]


def table(rows: list[tuple]) -> pd.DataFrame:
    columns = ("system", "data", "contrast", "dim", "case", "structure", "dice", "hd95_mm", "found")
    return pd.DataFrame(rows, columns=list(columns))


@pytest.fixture
def scores() -> pd.DataFrame:
    """Of B canal 0.5, 0.7, 0.9, bone 0.8, none, 0.4; of A one case."""
    values = {"canal": (0.5, 0.7, 0.9), "bone": (0.8, NAN, 0.4), "disc": (NAN, NAN, NAN)}
    found = {"canal": ["both"] * 3, "bone": ["both", "neither", "both"], "disc": ["neither"] * 3}
    rows = [
        ("B", "T1w", "T1w", "2D", f"c{i}", name, value, 10 * value, found[name][i])
        for name, of_cases in values.items()
        for i, value in enumerate(of_cases)
    ]
    other = {"canal": 0.25, "bone": 0.5, "disc": 0.0}
    rows += [("A", "T2w", "T2w", "2D", "c9", n, v, NAN, "both" if v else "missed") for n, v in other.items()]
    return table(rows)


def test_mean_spread_and_count(scores):
    first, second = (row for _, row in summary_table(scores, NAMES).iterrows())
    assert (first["system"], first["cases"], second["cases"]) == ("B", 3, 1)
    assert first["canal mean"] == pytest.approx(0.7)
    assert first["canal sd"] == pytest.approx(0.2)
    assert first["bone mean"] == pytest.approx(0.6)
    assert first["bone sd"] == pytest.approx(0.08**0.5)
    assert [first[f"{name} n"] for name in ("canal", "bone", "disc")] == [3, 2, 0]
    assert np.isnan(first["disc mean"])
    assert first["mDICE"] == pytest.approx(0.65)
    assert second["mDICE"] == pytest.approx(0.25)


def test_markdown_is_the_papers_table(scores):
    made = summary_table(scores.replace("A", "x|y"), [NAMES[0], ("x|y", "T2w")])
    assert as_markdown(printed(made), "Title", [cases_note(made)]).splitlines() == [
        "Title",
        "",
        "| Model | Data | canal | bone | disc | mDICE |",
        "| --- | --- | --- | --- | --- | --- |",
        "| B | T1w | 0.70 ± 0.20 | 0.60 ± 0.28 | n/a | 0.650 |",
        "| x\\|y | T2w | 0.25 | 0.50 | 0.00 | 0.250 |",
        "",
        cases_note(made),
    ]
    assert "1 or 3 cases" in cases_note(made)
    transposed = as_markdown(printed(made, transposed=True), "Title").splitlines()
    assert transposed[2] == "| Model | B | x\\|y |"
    assert transposed[5] == "| canal | 0.70 ± 0.20 | 0.25 |"
    assert (
        as_csv(made).splitlines()[1] == "B,T1w,3,0.700000,0.200000,3,0.600000,0.282843,2,n/a,n/a,0,0.650000"
    )
    counted = printed(made, counts=True)
    assert counted.loc[0, ["canal", "bone", "disc"]].map(str).tolist() == [
        *("0.70 ± 0.20", "0.60 ± 0.28 (2)", "n/a"),
    ]
    assert [cell.value for cell in counted["mDICE"]] == pytest.approx([0.65, 0.25])
    distances = printed(summary_table(scores, NAMES, "hd95_mm"), "hd95_mm")
    assert distances["canal"].map(str).tolist() == ["7.0 ± 2.0", "n/a"]
    assert "mDICE" not in distances
    assert printed(summary_table(scores.assign(dim="3D"), NAMES))["Dim"].tolist() == ["3D", "3D"]


def test_latex_escapes_names_and_sets_the_sign(scores):
    made = as_latex(printed(summary_table(scores, NAMES)).rename(columns={"canal": "spinal_canal"}), "100 %")
    assert "\\caption{100 \\%.}" in made
    assert "Model & Data & spinal\\_canal & bone & disc & mDICE \\\\" in made
    assert "B & T1w & 0.70 $\\pm$ 0.20 &" in made
    assert made.count("\\begin") == made.count("\\end") == 2


def test_absent_structures_are_counted(scores):
    assert ": 1 missed, 4 in neither" in absence_note(scores)
    assert absence_note(scores[scores["found"] == "both"]) == ""


def test_contrasts_of_the_cases_stand_in_for_unknown_data():
    rows = [
        ("A", "", contrast, "2D", f"c{contrast}", "disc", dice, NAN, "both")
        for contrast, dice in (("T1w", 0.4), ("T2w", 0.8))
    ]
    rows += [("B", "T1w", c, "2D", f"c{c}", "disc", 0.5, NAN, "both") for c in ("T1w", "T2w")]
    named, names = by_contrast(table(rows), [("A", ""), ("B", "T1w")])
    assert names == [("A", "T1w"), ("A", "T2w"), ("A", "T1w + T2w"), ("B", "T1w")]
    assert summary_table(named, names)["disc mean"].tolist() == pytest.approx([0.4, 0.8, 0.6, 0.5])
    assert by_contrast(table(rows[:1]), [("A", "")])[1] == [("A", "")]
    assert "Data" not in printed(summary_table(table(rows[:1]), [("A", "")]))


DICE = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan])


@given(
    values=st.dictionaries(st.sampled_from("abcdefgh"), st.lists(DICE, min_size=1, max_size=3), min_size=1)
)
def test_case_means_against_a_loop_with_ties_and_cases_without_a_score(values):
    rows = [(case, dice) for case, scores in values.items() for dice in scores]
    made = case_means(pd.DataFrame(rows, columns=["case", "dice"]).astype({"dice": float}))
    expected = []
    for case, scores in values.items():
        known = [dice for dice in scores if not math.isnan(dice)]
        expected.append((sum(known) / len(known) if known else math.inf, case))
    expected.sort()
    assert made.index.tolist() == [case for _, case in expected]
    assert np.allclose(made.fillna(math.inf), [mean for mean, _ in expected])


WORDS = tuple(FOUND.values())
ROWS = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("xy"), st.sampled_from(WORDS)), max_size=40)


@given(rows=ROWS)
def test_every_case_is_counted_once_by_what_was_found(rows):
    scores = pd.DataFrame(rows, columns=["system", "structure", "found"], dtype=object).assign(data="d")
    made = count_found(scores, [("B", "d"), ("A", "d"), ("A", "other")])
    counted = {
        (row["system"], row["structure"], found): row[found]
        for row in made.to_dict("records")
        for found in WORDS
        if row[found]
    }
    assert counted == Counter(rows)
    assert (made[list(WORDS)].sum(axis=1) == made["cases"]).all()
    assert list(made["system"]) == sorted(made["system"], reverse=True), "in the order of the names"
