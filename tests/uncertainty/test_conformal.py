"""Bounds on areas: their share of covered cases, and the quantile behind them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnunetv2_spinesegdiff.uncertainty.conformal import (
    area_bounds,
    area_quantile,
    cross_validated_coverage,
)

AREAS = st.floats(0, 1e5)
PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(arrays(float, n, elements=AREAS), arrays(float, n, elements=AREAS))
)


def cases(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted areas in mm2; no two scores are equal."""
    true = rng.gamma(3, 50, shape)
    return true, true * rng.lognormal(0.05, 0.2, shape)


def brute_quantile(true, predicted, unit, level):
    """The smallest score that at least ceil((n + 1) * level) scores do not exceed."""
    scores = [abs(math.log((t + unit) / (p + unit))) for t, p in zip(true, predicted, strict=True)]
    needed = math.ceil(round((len(scores) + 1) * level, 9))
    return min((s for s in scores if sum(other <= s for other in scores) >= needed), default=math.inf)


@given(PAIRS, st.sampled_from([0.5, 0.55, 0.8, 0.9]))
def test_the_quantile_is_the_one_of_a_direct_search(pair, level):
    true, predicted = pair
    assert area_quantile(true, predicted, 0.25, level) == pytest.approx(
        brute_quantile(true, predicted, 0.25, level), abs=1e-9
    )


@pytest.mark.parametrize(("n", "level"), [(9, 0.9), (25, 0.9), (40, 0.8)])
def test_a_new_case_is_covered_as_often_as_promised(n, level):
    trials = 2000
    true, predicted = cases(np.random.default_rng(n), (trials, n + 1))
    covered = []
    for t, p in zip(true, predicted, strict=True):
        low, high = area_bounds(p[-1], area_quantile(t[:-1], p[:-1], 1.0, level), 1.0)
        covered.append(low <= t[-1] <= high)
    noise = 4 * math.sqrt(level * (1 - level) / trials)
    assert level - noise <= np.mean(covered) <= level + 1 / (n + 1) + noise
    assert np.mean(covered) == pytest.approx(math.ceil((n + 1) * level) / (n + 1), abs=noise)


@pytest.mark.parametrize("trials", [300, pytest.param(4000, marks=pytest.mark.slow)])
def test_a_new_patient_is_covered_where_patients_have_several_cases(trials):
    """Twenty patients: a random half has six cases each and small errors, the others one and large errors.

    The share of new patients whose case is within bounds may miss 90 % by four standard errors. If every
    case counted as a patient, the easy ones would count six times, and this share would be below 80 %.
    """
    rng = np.random.default_rng(1)
    covered: list[bool] = []
    as_patients: list[bool] = []
    for _ in range(trials):
        easy = rng.random(21) < 0.5
        errors = rng.normal(0, np.where(easy, 0.05, 0.3))
        whose = np.repeat(np.arange(20), np.where(easy[:20], 6, 1))
        true, predicted = np.full(len(whose), 100.0), 100 * np.exp(errors[whose])
        for found, patients in ((covered, whose.tolist()), (as_patients, None)):
            quantile = area_quantile(true, predicted, 1.0, 0.9, patients)
            low, high = area_bounds(100 * np.exp(errors[-1]), quantile, 1.0)
            found.append(low <= 100 <= high)
    assert np.mean(covered) > 0.9 - 4 * math.sqrt(0.9 * 0.1 / trials)
    assert np.mean(as_patients) < 0.8


def test_a_patients_cases_share_its_weight():
    """Ten patients: nine with one case, and one with ninety of a large error that weigh as one."""
    true, predicted = np.full(99, 100.0), np.array([*range(101, 110), *[300] * 90], float)
    patients = [str(n) for n in range(9)] + ["many"] * 90
    assert area_quantile(true, predicted, 1.0, 9 / 11, patients) == pytest.approx(math.log(110 / 101))
    assert area_quantile(true, predicted, 1.0, 0.9, patients) == pytest.approx(math.log(301 / 101))
    assert area_quantile(true, predicted, 1.0, 0.5) == pytest.approx(math.log(301 / 101))
    # Eight patients are too few, however many cases they have.
    eight = [n % 8 for n in range(99)]
    assert area_quantile(true, predicted, 1.0, 0.9, eight) == math.inf
    assert math.isnan(cross_validated_coverage(true, predicted, 1.0, np.array(eight) % 2, 0.9, eight))
    with pytest.raises(ValueError, match="fit"):
        area_quantile(true, predicted, 1.0, 0.9, eight[1:])


@pytest.mark.parametrize(("n", "level"), [(8, 0.9), (18, 0.95), (3, 0.8), (0, 0.5)])
def test_too_few_cases_give_no_bounds(n, level):
    quantile = area_quantile(np.ones(n), np.ones(n), 1.0, level)
    assert quantile == math.inf
    assert np.isnan(area_bounds(np.ones(2), quantile, 1.0)).all()
    assert area_quantile(np.ones(n + 1), np.ones(n + 1), 1.0, level) == 0


def test_a_structure_that_is_missing_has_a_finite_score():
    true, predicted = np.array([0.0, 0.0, 99.0]), np.array([0.0, 9.0, 0.0])
    assert area_quantile(true, predicted, 1.0, 0.25) == 0
    assert area_quantile(true, predicted, 1.0, 0.5) == pytest.approx(math.log(10))
    low, high = area_bounds(np.array([0.0, 19.0]), math.log(10), 1.0)
    np.testing.assert_allclose(low, [0, 1])
    np.testing.assert_allclose(high, [9, 199])
    # Every case may have its own unit.
    units = np.array([1.0, 0.1])
    assert area_quantile(np.zeros(2), np.ones(2), units, 0.6) == pytest.approx(math.log(11))
    np.testing.assert_allclose(area_bounds(np.ones(2), math.log(2), units)[1], [3, 2.1])


def test_coverage_over_groups_is_that_of_a_loop():
    true, predicted = cases(np.random.default_rng(0), (60,))
    groups = np.array(list("abcab") * 12)
    covered = 0
    for i in range(60):
        others = groups != groups[i]
        low, high = area_bounds(predicted[i], area_quantile(true[others], predicted[others], 1.0), 1.0)
        covered += low <= true[i] <= high
    assert cross_validated_coverage(true, predicted, 1.0, groups) == covered / 60
    units = np.full(60, 1.0)
    assert cross_validated_coverage(true, predicted, units, groups) == covered / 60


def test_coverage_over_groups_is_near_the_level():
    shares = []
    for seed in range(150):
        true, predicted = cases(np.random.default_rng(seed), (50,))
        shares.append(cross_validated_coverage(true, predicted, 1.0, np.arange(50) % 5))
    # 40 cases calibrate: 37 / 41 of new ones are covered.
    assert np.mean(shares) == pytest.approx(37 / 41, abs=0.015)


@pytest.mark.parametrize(
    "groups",
    [[], [0] * 30, [0] * 22 + [1] * 8],
    ids=["no case", "no other group", "too few in one other group"],
)
def test_coverage_that_cannot_be_computed_is_nan(groups):
    areas = np.ones(len(groups))
    assert math.isnan(cross_validated_coverage(areas, areas, 1.0, np.array(groups)))
    with pytest.raises(ValueError, match="groups"):
        cross_validated_coverage(areas, areas, 1.0, np.zeros(len(groups) + 1))


@pytest.mark.parametrize(
    ("true", "predicted", "unit", "level"),
    [
        ([1, 2], [1], 1, 0.9),
        ([[1]], [[1]], 1, 0.9),
        ([1], [1], [1, 1], 0.9),
        ([-1], [1], 1, 0.9),
        ([1], [-1], 1, 0.9),
        ([1], [np.nan], 1, 0.9),
        ([np.inf], [1], 1, 0.9),
        ([1], [1], 0, 0.9),
        ([1], [1], np.nan, 0.9),
        ([1], [1], 1, 0),
        ([1], [1], 1, 1),
    ],
)
def test_what_makes_no_sense_is_refused(true, predicted, unit, level):
    with pytest.raises(ValueError, match=r"fit|finite|least|level"):
        area_quantile(np.array(true), np.array(predicted), np.array(unit), level)


@given(PAIRS)
def test_bounds_hold_the_calibration_cases_up_to_the_quantile(pair):
    true, predicted = pair
    quantile = area_quantile(true, predicted, 0.5, 0.5)
    low, high = area_bounds(predicted, quantile, 0.5)
    if np.isinf(quantile):
        assert np.isnan(low).all()
        assert np.isnan(high).all()
    else:
        assert (
            (low >= 0) & (low <= predicted * (1 + 1e-9) + 1e-9) & (high >= predicted * (1 - 1e-9) - 1e-9)
        ).all()
        slack = 1e-9 * (high + 1)
        assert ((low - slack <= true) & (true <= high + slack)).sum() >= (len(true) + 1) / 2


def test_ties_count_as_covered():
    true = np.full(20, 100.0)
    predicted = np.where(np.arange(20) % 2, 100.0, 50.0)
    assert area_quantile(true, predicted, 1.0) == pytest.approx(math.log(101 / 51))
    assert cross_validated_coverage(true, predicted, 1.0, np.arange(20) // 5) == 1
