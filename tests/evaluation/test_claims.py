"""A difference is a claim only with what the controls say to it."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.claims import HIGHER_IS_BETTER, claims_of, differences_of

from ..helpers.evaluations import comparison

CONTROL = [("C", "")]


def claim(*rows, controls=CONTROL):
    (made,) = claims_of(differences_of(pd.DataFrame(rows)), controls)
    return made


@pytest.mark.parametrize("metric", sorted(HIGHER_IS_BETTER))
@pytest.mark.parametrize("difference", [0.2, -0.2])
def test_the_better_one_is_the_subject_whatever_the_order_and_metric(metric, difference):
    made = claim(comparison("A", "B", difference, 0.01, metric=metric)).difference
    b_is_better = (difference > 0) == (metric in ("dice", "jaccard"))
    assert made.of == (("B", "") if b_is_better else ("A", ""))
    assert made.better
    assert made.mean == (difference if b_is_better else -difference)
    assert made.low < made.mean < made.high


@pytest.mark.parametrize(("p", "changes"), [(0.06, {}), (np.nan, {"significant": True})])
def test_what_is_not_significant_stays_as_it_is_and_is_not_better(p, changes):
    made = claim(comparison("A", "B", -0.2, p, **changes))
    assert (made.difference.of, made.difference.mean) == (("B", ""), -0.2)
    assert not made.difference.better
    assert not made.difference.significant
    assert not made.stands


SIGNS = list(itertools.product([0.1, -0.1], [0.01, 0.5, np.nan]))


@pytest.mark.parametrize(("difference", "p"), SIGNS)
@pytest.mark.parametrize("control_first", [True, False])
def test_a_claim_stands_only_if_the_control_is_significantly_worse(difference, p, control_first):
    pair = ("C", "B", difference) if control_first else ("B", "C", -difference)
    made = claim(comparison("A", "B", 0.2, 0.01), comparison(*pair, p))
    (held,) = made.controls
    assert (held.of, held.than, held.mean) == (("B", ""), ("C", ""), difference)
    assert made.stands == (difference > 0 and p < 0.05)


def test_every_control_must_be_worse():
    rows = [comparison("A", "B", 0.2, 0.01), comparison("C", "B", 0.2, 0.01)]
    assert claim(*rows).stands
    without = claim(rows[0], controls=[])
    assert (without.difference.better, without.stands) == (True, False)
    controls = [("C", ""), ("D", "")]
    not_met = claim(*rows, controls=controls)
    assert (not_met.stands, not_met.unmet) == (False, (("D", ""),))
    assert not claim(*rows, comparison("D", "B", 0.01, 0.9), controls=controls).stands


def test_the_controls_of_another_structure_metric_or_data_say_nothing():
    others = [
        comparison("C", "B", 0.2, 0.01, structure="vertebrae"),
        comparison("C", "B", 0.2, 0.01, metric="jaccard"),
        comparison("C", "B", 0.2, 0.01, data_a="T1w", data_b="T1w"),
    ]
    rows = pd.DataFrame([comparison("A", "B", 0.2, 0.01), *others])
    made, *_ = claims_of(differences_of(rows), CONTROL)
    assert made.controls == ()
    assert made.unmet == (("C", ""),)
    elsewhere = claim(comparison("A", "B", 0.2, 0.01), controls=[("C", "T1w")])
    assert elsewhere.unmet == ()
    assert not elsewhere.stands


def test_an_unknown_metric_is_rejected():
    with pytest.raises(ValueError, match="volume"):
        differences_of(pd.DataFrame([comparison("A", "B", 0.1, 0.1, metric="volume")]))
