"""No difference is shown without what the controls say."""

from __future__ import annotations

import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.comparisons import NO_CONTROL
from nnunetv2_spinesegdiff.evaluation.report.claim_section import claim_section
from nnunetv2_spinesegdiff.evaluation.report.page import Section
from nnunetv2_spinesegdiff.text import MINUS

from ...helpers.evaluations import comparison, lines_of

CLAIM = comparison("A", "B", 0.2, 0.01)
CONTROL = [("C", "")]


def section(*rows, controls=CONTROL) -> Section:
    return claim_section(pd.DataFrame(rows), controls, 3)


def words(made: Section, number: int = 0) -> str:
    return lines_of(made.blocks[number])[0]["In words"]


@pytest.mark.parametrize("controls", [[], CONTROL])
@pytest.mark.parametrize(("comparisons", "systems"), [(None, 1), (None, 2), (pd.DataFrame(), 2)])
def test_without_differences_a_missing_control_is_still_named(comparisons, systems, controls):
    made = claim_section(comparisons, controls, systems)
    assert ("Only one system" in made.text[0]) == (systems == 1)
    assert made.warnings == (() if controls else (NO_CONTROL,))
    assert not made.blocks


@pytest.mark.parametrize(
    ("against", "judgement"),
    [
        (comparison("C", "B", 0.1, 0.01), "also than every control"),
        (comparison("C", "B", 0.01, 0.7), "but not than C"),
        (comparison("C", "B", -0.1, 0.01), "but not than C"),
        (comparison("C", "A", 0.1, 0.01), "not compared with C"),
    ],
)
def test_the_judgement_follows_the_controls(against, judgement):
    made = section(CLAIM, against)
    assert words(made).startswith("B is better")
    assert judgement in words(made)
    assert not made.warnings
    assert len(lines_of(made.blocks[1])) == 1, "the control's own row is in a table, too"


def test_the_controls_stand_next_to_the_claim_with_interval_and_p():
    (line,) = lines_of(section(CLAIM, comparison("B", "C", -0.1, 0.0002)).blocks[0])
    assert line["Difference of"] == f"B {MINUS} A"
    assert line["Mean [95 % interval]"] == "+0.200 [0.190, 0.210]"
    assert line["Against the controls"] == f"B {MINUS} C: +0.100 [0.090, 0.110], p < 0.001"


def test_claims_are_counted_and_need_a_control():
    insignificant = section(comparison("A", "B", 0.2, 0.5))
    assert "no difference" in words(insignificant)
    assert "Of 1 difference" in insignificant.text[0]
    alone = section(CLAIM, CLAIM, controls=[])
    assert "Of 2 differences" in alone.text[0]
    assert alone.warnings == (NO_CONTROL,)
    assert "no control was evaluated" in words(alone)
    assert "on the same data" in words(section(CLAIM, controls=[("C", "T2w")]))


def test_every_metric_has_its_table_and_less_is_better_for_distances():
    made = section(CLAIM, comparison("A", "B", 0.5, 0.01, metric="hd95_mm"))
    assert [words(made, n)[0] for n in (0, 1)] == ["B", "A"]


def test_a_difference_from_a_control_is_shown_with_the_control_subtracted():
    made = section(comparison("A", "C", -0.2, 0.01))
    assert "no claim" in made.text[0]
    (line,) = lines_of(made.blocks[0])
    assert (line["Difference of"], line["Significant"]) == (f"A {MINUS} C", "yes")
    assert line["Mean [95 % interval]"] == "+0.200 [0.190, 0.210]"
