"""Temperatures and reliability, against direct loops and synthetic pixels whose calibration is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax

from nnunetv2_spinesegdiff.uncertainty.temperature import (
    MAX_TEMPERATURE,
    Reliability,
    fit_temperatures,
    reliability,
    temperature_scaled,
)

SEEDS = st.integers(0, 2**32 - 1)
TEMPERATURES = st.lists(st.floats(0.1, 10), min_size=4, max_size=4).map(np.array)


def some_probabilities(seed: int, regions: bool, n: int = 40) -> np.ndarray:
    """(4, n) float64, from certain to undecided."""
    logits = np.random.default_rng(seed).normal(0, 4, (4, n))
    return expit(logits) if regions else softmax(logits, axis=0)


def drawn_truth(probabilities: np.ndarray, regions: bool, rng: np.random.Generator) -> np.ndarray:
    """Truth that is distributed just as `probabilities` (K, N) say."""
    n = probabilities.shape[1]
    if regions:
        return (rng.random(probabilities.shape) < probabilities).astype(int)
    return np.minimum((rng.random(n) > probabilities.cumsum(0)).sum(0), len(probabilities) - 1)


def scaled_by_loops(probabilities, temperatures, regions):
    result = np.empty_like(probabilities)
    for n in range(probabilities.shape[1]):
        column = [float(p) for p in probabilities[:, n]]
        if regions:
            odds = [(p / (1 - p)) ** (1 / t) for p, t in zip(column, temperatures, strict=True)]
            result[:, n] = [o / (1 + o) for o in odds]
        else:
            powers = [p ** (1 / t) for p, t in zip(column, temperatures, strict=True)]
            result[:, n] = [p / sum(powers) for p in powers]
    return result


def mean_nll(probabilities, truth, temperatures, regions):
    """Straight from the definition."""
    scaled = np.maximum(scaled_by_loops(probabilities, temperatures, regions), 1e-300)
    if regions:
        return -np.log(np.where(truth, scaled, np.maximum(1 - scaled, 1e-300))).mean()
    return -np.log(scaled[truth, np.arange(len(truth))]).mean()


@given(SEEDS, TEMPERATURES, st.booleans())
def test_scaling_is_that_of_a_loop(seed, temperatures, regions):
    probabilities = some_probabilities(seed, regions)
    scaled = temperature_scaled(probabilities, temperatures, regions)
    assert scaled.dtype == np.float32
    # Temperatures enlarge how float32 rounds, and clips, the odds of a probability near 1.
    np.testing.assert_allclose(scaled, scaled_by_loops(probabilities, temperatures, regions), atol=2e-3)


@given(SEEDS, st.booleans(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_temperatures_of_1_give_the_input_back(seed, regions, dtype):
    probabilities = some_probabilities(seed, regions).reshape(4, 5, 2, 4).astype(dtype)
    scaled = temperature_scaled(probabilities, np.ones(4), regions)
    # Rounded to float16, a softmax sums to 1 no better than this.
    np.testing.assert_allclose(scaled, probabilities, atol=1e-3 if dtype == np.float16 else 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1 / MAX_TEMPERATURE, 1.0, 2.0])
@pytest.mark.parametrize("regions", [False, True])
def test_0_and_1_stay_what_they_are(regions, temperature, dtype):
    certain = np.eye(3, dtype=dtype)
    scaled = temperature_scaled(certain, np.full(3, temperature), regions)
    np.testing.assert_allclose(scaled, certain, atol=3e-4)


def test_an_underflowed_softmax_can_be_softened():
    """A 0 of float32 is a logit at least 87 below: softened 20 times, some of it is seen again."""
    scaled = temperature_scaled(np.array([[1.0], [0.0]], np.float32), np.full(2, 20.0), False)
    assert 0.002 < scaled[1, 0] < 0.02


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("temperatures", [[2, 2, 2], [0.5, 1.5, 3], [1, 1, 1]])
def test_known_temperatures_are_found(temperatures, regions):
    """The truth is drawn from the prediction as it is once scaled."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (3, 40_000))
    if regions:
        predicted, calibrated = expit(logits), expit(logits / np.array(temperatures)[:, None])
    else:
        predicted = softmax(logits, axis=0)
        calibrated = softmax(log_softmax(logits, axis=0) / np.array(temperatures)[:, None], axis=0)
    truth = drawn_truth(calibrated, regions, rng)
    np.testing.assert_allclose(fit_temperatures(predicted, truth, regions), temperatures, rtol=0.06)


@settings(max_examples=40)
@given(SEEDS, TEMPERATURES, st.booleans())
def test_no_other_temperatures_are_more_likely(seed, others, regions):
    """Neither 1, nor any, nor any nearby."""
    probabilities = some_probabilities(seed, regions)
    truth = drawn_truth(
        some_probabilities(seed + 1, regions) * 0.5 + probabilities * 0.5,
        regions,
        np.random.default_rng(seed),
    )
    fitted = fit_temperatures(probabilities, truth, regions)
    assert ((fitted >= 1 / MAX_TEMPERATURE) & (fitted <= MAX_TEMPERATURE)).all()
    settled = [0 < np.mean(t) < 1 for t in (truth if regions else truth == np.arange(4)[:, None])]
    least = mean_nll(probabilities, truth, fitted, regions)
    for rival in (np.ones(4), others, fitted * 1.01, fitted / 1.01):
        rival = np.where(settled, rival, 1.0).clip(1 / MAX_TEMPERATURE, MAX_TEMPERATURE)
        assert least <= mean_nll(probabilities, truth, rival, regions) + 1e-6


@pytest.mark.parametrize(
    ("truth", "regions"), [(np.zeros((4, 50)), True), (np.ones((4, 50)), True), (np.full(50, 2), False)]
)
def test_a_class_of_no_or_all_pixels_keeps_1(truth, regions):
    assert fit_temperatures(some_probabilities(0, regions, 50), truth, regions).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("right", [True, False])
def test_certain_predictions_end_at_a_bound(right, regions):
    predicted = np.eye(2, dtype=np.float32)[:, [0, 1] * 50]
    classes = np.array([0, 1] * 50) if right else np.array([1, 0] * 50)
    fitted = fit_temperatures(predicted, np.eye(2, dtype=int)[:, classes] if regions else classes, regions)
    low, high = (1 / MAX_TEMPERATURE, 1) if right else (0.999 * MAX_TEMPERATURE, 1.001 * MAX_TEMPERATURE)
    assert ((fitted >= low) & (fitted <= high)).all()


P = np.full((3, 4), 0.3)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        *((temperature_scaled, (P, np.array(t), False)) for t in ([1, 1], [1, 1, 0], [1, 1, -1], 1)),
        *((temperature_scaled, (P, np.array([1, 1, t]), False)) for t in (np.nan, np.inf)),
        (fit_temperatures, (P, np.zeros(5, int), False)),
        (fit_temperatures, (P, np.zeros((3, 4), int), False)),
        (fit_temperatures, (P, np.zeros(4, int), True)),
        (fit_temperatures, (P[:, 0], np.zeros((), int), False)),
        (fit_temperatures, (P[:, :0], np.zeros(0, int), False)),
        (fit_temperatures, (P[:, :0], np.zeros((3, 0), int), True)),
        *((fit_temperatures, (P * factor, np.zeros(4, int), False)) for factor in (np.nan, 5)),
        (fit_temperatures, (P * np.inf, np.zeros((3, 4), int), True)),
        *((fit_temperatures, (P, np.full(4, value), False)) for value in (3, -1, np.nan)),
        (fit_temperatures, (P, np.full((3, 4), 2), True)),
        (reliability, (np.ones(1), np.ones(2), 15)),
        *((reliability, (np.array([p]), np.ones(1), 15)) for p in (1.5, -0.1, np.nan)),
        (reliability, (np.ones(1), np.ones(1), 0)),
        (
            Reliability.__add__,
            (reliability(np.ones(1), np.ones(1), 10), reliability(np.ones(1), np.ones(1), 15)),
        ),
    ],
)
def test_invalid_arrays_are_rejected(function, arguments):
    with pytest.raises(ValueError, match=r"temperatures|fit|pixels|finite|truth|bins|confidences|add up"):
        function(*arguments)


@given(
    st.lists(
        st.tuples(st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=60
    ),
    st.integers(1, 20),
)
def test_reliability_is_that_of_a_loop(predictions, bins):
    confidence, correct = (np.array(values) for values in zip(*predictions, strict=True))
    diagram = reliability(confidence, correct, bins)
    error = 0.0
    for b in range(bins):
        low, high = diagram.edges[b : b + 2]
        inside = [(p, c) for p, c in predictions if low < p <= high or (b == 0 and p == 0)]
        assert diagram.count[b] == len(inside)
        if inside:
            mean, right = (float(np.mean(values)) for values in zip(*inside, strict=True))
            assert diagram.mean_confidence[b] == pytest.approx(mean)
            assert diagram.accuracy[b] == pytest.approx(right)
            error += abs(mean - right) * len(inside) / len(predictions)
        else:
            assert math.isnan(diagram.mean_confidence[b])
            assert math.isnan(diagram.accuracy[b])
    assert diagram.expected_calibration_error == pytest.approx(error, abs=1e-12)


@given(SEEDS, st.integers(0, 100))
def test_diagrams_of_cases_add_up_to_that_of_all(seed, cut):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(100), rng.random(100) < 0.7
    total = reliability(confidence[:cut], correct[:cut]) + reliability(confidence[cut:], correct[cut:])
    whole = reliability(confidence.reshape(4, 25), correct.reshape(4, 25))
    assert total.count.tolist() == whole.count.tolist()
    np.testing.assert_allclose(total.mean_confidence, whole.mean_confidence)
    np.testing.assert_allclose(total.accuracy, whole.accuracy)
    assert total.expected_calibration_error == pytest.approx(whole.expected_calibration_error)
    assert math.isnan(reliability(np.zeros(0), np.zeros(0)).expected_calibration_error)


@pytest.mark.parametrize("regions", [False, True])
def test_calibrated_predictions_have_no_error_and_sharpened_ones_do(regions):
    rng = np.random.default_rng(3)
    probabilities = some_probabilities(3, regions, 100_000)
    truth = drawn_truth(probabilities, regions, rng)

    def error_of(predicted: np.ndarray) -> float:
        if regions:
            return reliability(predicted, truth).expected_calibration_error
        return reliability(predicted.max(0), predicted.argmax(0) == truth).expected_calibration_error

    assert error_of(probabilities) < 0.005
    sharpened = temperature_scaled(probabilities, np.full(4, 1 / 3), regions)
    assert error_of(sharpened) > 0.03
    repaired = temperature_scaled(sharpened, fit_temperatures(sharpened, truth, regions), regions)
    assert error_of(repaired) < 0.006
