"""No difference is shown without what the controls say."""

from __future__ import annotations

import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.report.cells import grid_of
from nnunetv2_spinesegdiff.evaluation.report.claim_section import NO_CONTROL, claim_section
from nnunetv2_spinesegdiff.evaluation.report.page import Section, Table
from nnunetv2_spinesegdiff.text import MINUS

from .page_evaluation import comparison

CLAIM = comparison("A", "B", 0.2, 0.01)
CONTROL = [("C", "")]


def section(*rows, controls=CONTROL) -> Section:
    return claim_section(pd.DataFrame(rows), controls, 3)


def lines(made: Section, number: int = 0) -> list[dict[str, str]]:
    table = made.blocks[number]
    assert isinstance(table, Table)
    grid = grid_of(table)
    heads = [column.heading for column in grid.columns]
    return [dict(zip(heads, (cell.text for cell in row), strict=True)) for row in grid.rows]


def test_without_a_control_the_section_says_so_in_words():
    made = section(CLAIM, controls=[])
    assert made.warnings == (NO_CONTROL,)
    assert NO_CONTROL.startswith("No control was evaluated: a difference may come from more training alone")
    (line,) = lines(made)
    assert line["In words"] == "B is better; no control was evaluated"
    assert line["Against the controls"] == "none evaluated"


@pytest.mark.parametrize("controls", [[], CONTROL])
@pytest.mark.parametrize(("comparisons", "systems"), [(None, 1), (None, 2), (pd.DataFrame(), 2)])
def test_without_differences_it_says_why_and_still_names_the_missing_control(comparisons, systems, controls):
    made = claim_section(comparisons, controls, systems)
    assert ("Only one system" in made.text[0]) == (systems == 1)
    assert made.warnings == (() if controls else (NO_CONTROL,))
    assert not made.blocks


@pytest.mark.parametrize(
    ("against", "words"),
    [
        (comparison("C", "B", 0.1, 0.01), "B is better, also than every control"),
        (
            comparison("C", "B", 0.01, 0.7),
            "B is better, but not than C: more training alone may explain it",
        ),
        (
            comparison("C", "B", -0.1, 0.01),
            "B is better, but not than C: more training alone may explain it",
        ),
        (comparison("C", "A", 0.1, 0.01), "B is better; not held against C"),
    ],
)
def test_the_judgement_follows_the_controls(against, words):
    made = section(CLAIM, against)
    assert lines(made)[0]["In words"] == words
    assert not made.warnings
    assert len(lines(made, 1)) == 1, "the control's own row is in a table, too"


def test_the_controls_stand_beside_the_claim_with_interval_and_p():
    (line,) = lines(section(CLAIM, comparison("B", "C", -0.1, 0.0002)))
    assert line["Difference of"] == f"B {MINUS} A"
    assert line["Mean [95 % interval]"] == "+0.200 [0.190, 0.210]"
    assert line["Against the controls"] == f"B {MINUS} C: +0.100 [0.090, 0.110], p < 0.001"


def test_what_is_not_significant_is_no_claim():
    made = section(comparison("A", "B", 0.2, 0.5))
    assert lines(made)[0]["In words"] == "no difference shown"
    assert made.text[0] == (
        "Of 1 difference between proposed systems 0 are significant; in 0 of these the better system is "
        "better than every control, too."
    )
    alone = section(CLAIM, CLAIM, controls=[])
    assert alone.text[0] == "Of 2 differences between proposed systems 2 are significant."


def test_a_control_of_other_data_is_no_control_of_this():
    (line,) = lines(section(CLAIM, controls=[("C", "T2w")]))
    assert line["In words"] == "B is better; no control was trained on the same data"


def test_every_metric_has_its_table_and_less_is_better_for_distances():
    made = section(CLAIM, comparison("A", "B", 0.5, 0.01, metric="hd95_mm"))
    assert lines(made, 0)[0]["In words"].startswith("B is better")
    assert lines(made, 1)[0]["In words"].startswith("A is better")


def test_a_difference_from_a_control_is_shown_with_the_control_subtracted():
    made = section(comparison("A", "C", -0.2, 0.01))
    assert made.text[0] == "Only controls were compared: there is no claim to judge."
    (line,) = lines(made)
    assert (line["Difference of"], line["Significant"]) == (f"A {MINUS} C", "yes")
    assert line["Mean [95 % interval]"] == "+0.200 [0.190, 0.210]"
