"""Calibration of probabilities: temperatures, and reliability diagrams.

After Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017 (arXiv 1706.04599).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp, softmax

MAX_TEMPERATURE = 20.0
"""Temperatures are fitted between 1 / this and this."""

LOWEST = float(np.finfo(np.float32).tiny)
HIGHEST = float(1 - np.finfo(np.float32).epsneg)
"""Least and largest probability that differ from 0 and 1 in float32. Probabilities of any dtype are clipped
to this range: a 0 is a softmax that underflowed, and its logarithm must be finite."""


def temperature_scaled(probabilities: np.ndarray, temperatures: np.ndarray, regions: bool) -> np.ndarray:
    """Soften (temperature above 1) or sharpen (below 1) probabilities.

    Softmax heads become p_k^(1/T_k) / sum_j p_j^(1/T_j), region heads sigmoid(logit(p_k) / T_k). The
    log-probabilities of a softmax are scaled, not its logits, because a constant added to all logits of a
    pixel must not change the result. With one temperature for all classes, both are the same. If the
    temperatures of classes differ, the most probable class can change.

    Args:
        probabilities: (K, *spatial), 0 to 1. Softmax heads sum to 1 over K.
        temperatures: (K,), above 0. Temperatures of 1 change nothing.
        regions: sigmoid heads instead of softmax.

    Returns:
        Probabilities (K, *spatial), float32, 0 to 1.

    Raises:
        ValueError: there is not one temperature per channel, or one is not finite and above 0.

    Examples:
        >>> softer = temperature_scaled(np.array([0.2, 0.8]), np.array([2.0, 2.0]), regions=False)
        >>> [round(probability, 3) for probability in softer.tolist()]
        [0.333, 0.667]
    """
    probabilities = np.asarray(probabilities)
    probabilities = probabilities.astype(np.result_type(probabilities, np.float32), copy=False)
    temperatures = np.asarray(temperatures, probabilities.dtype)
    if temperatures.shape != probabilities.shape[:1]:
        raise ValueError(f"temperatures {temperatures.shape} for probabilities {probabilities.shape}")
    if not (np.isfinite(temperatures) & (temperatures > 0)).all():
        raise ValueError(f"temperatures must be finite and above 0, not {temperatures}")
    temperatures = temperatures.reshape(-1, *[1] * (probabilities.ndim - 1))
    if regions:
        return expit(_log_odds(probabilities) / temperatures).astype(np.float32)
    return softmax(_log(probabilities) / temperatures, axis=0).astype(np.float32)


def fit_temperatures(probabilities: np.ndarray, truth: np.ndarray, regions: bool) -> np.ndarray:
    """Fit the temperatures for which the mean negative log-likelihood of the truth is smallest.

    Softmax heads are fitted together, region heads one by one. A class or region that no pixel or every pixel
    belongs to keeps the temperature 1, because its likelihood has no minimum. If the probabilities separate
    the truth perfectly, no minimum exists either, and the temperatures are between 1 and the lower limit.

    Args:
        probabilities: (K, N), 0 to 1, of N pixels. Softmax heads sum to 1 over K.
        truth: softmax heads: (N,), class indices 0 to K - 1. Region heads: (K, N), 0 or 1.
        regions: sigmoid heads instead of softmax.

    Returns:
        Temperatures (K,), float64, from 1 / `MAX_TEMPERATURE` to `MAX_TEMPERATURE`.

    Raises:
        ValueError: the shapes do not fit, there are no pixels, or values are not finite or out of range (an
            ignore label, or logits instead of probabilities).

    Examples:
        A region that is predicted with a probability of 0.9 and present in 3 of 4 pixels:

        >>> probabilities, truth = np.full((1, 4), 0.9), np.array([[1, 1, 1, 0]])
        >>> temperatures = fit_temperatures(probabilities, truth, regions=True)
        >>> temperatures.round(2).tolist()
        [2.0]
        >>> temperature_scaled(probabilities, temperatures, regions=True).round(2).tolist()
        [[0.75, 0.75, 0.75, 0.75]]
    """
    probabilities, truth = np.asarray(probabilities, np.float64), np.asarray(truth)
    _check(probabilities, truth, regions)
    if regions:
        return np.array([_fitted_region(p, t) for p, t in zip(probabilities, truth, strict=True)])
    return _fitted_classes(probabilities, truth.astype(np.intp))


def _fitted_classes(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K, N) and class indices (N,) to (K,)."""
    log_p, pixels = _log(probabilities), np.arange(len(truth))
    counts = np.bincount(truth, minlength=len(log_p))
    free = (counts > 0) & (counts < len(truth))
    temperatures = np.ones(len(log_p))

    def loss(log_temperatures: np.ndarray) -> tuple[float, np.ndarray]:
        inverse = np.ones(len(log_p))
        inverse[free] = np.exp(-log_temperatures)
        scaled = log_p * inverse[:, None]
        scaled -= logsumexp(scaled, axis=0)
        value = -scaled[truth, pixels].mean()
        residual = np.exp(scaled)
        residual[truth, pixels] -= 1
        by_inverse = np.einsum("kn,kn->k", residual, log_p) / len(truth)
        return value, -(by_inverse * inverse)[free]

    temperatures[free] = _minimum(loss, int(free.sum()))
    return temperatures


def _fitted_region(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """(N,) and 0 or 1 (N,) to one temperature."""
    if truth.min() == truth.max():
        return 1.0
    margin = _log_odds(probabilities) * np.where(truth, 1, -1)

    def loss(log_temperature: np.ndarray) -> tuple[float, np.ndarray]:
        inverse = np.exp(-log_temperature)
        scaled = margin * inverse
        by_inverse = -(margin * expit(-scaled)).mean()
        return np.logaddexp(0, -scaled).mean(), -by_inverse * inverse

    return float(_minimum(loss, 1)[0])


def _minimum(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], size: int) -> np.ndarray:
    """Temperatures (size,) of the least `loss`, which takes their logarithms and gives value and gradient."""
    if size == 0:
        return np.ones(0)
    # Both losses are convex in 1 / T, so that no start leads to another minimum than this one.
    bound = np.log(MAX_TEMPERATURE)
    from scipy.optimize import minimize  # not needed by predictions, and slow to load

    found = minimize(
        loss,
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-bound, bound)] * size,
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    return np.clip(np.exp(found.x), 1 / MAX_TEMPERATURE, MAX_TEMPERATURE)


def _check(probabilities: np.ndarray, truth: np.ndarray, regions: bool) -> None:
    """ValueError if `fit_temperatures` cannot be what was meant."""
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[0 if regions else 1 :]:
        raise ValueError(f"probabilities {probabilities.shape} and truth {truth.shape} do not fit")
    if probabilities.size == 0:
        raise ValueError("no pixels to fit temperatures to")
    # Comparisons with NaN are false.
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must be finite and from 0 to 1")
    allowed = np.arange(2 if regions else len(probabilities))
    if not np.isin(truth, allowed).all():
        raise ValueError(f"truth must be of {allowed.tolist()}")


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, LOWEST, HIGHEST))


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(probabilities, LOWEST, HIGHEST)
    return np.log(clipped) - np.log1p(-clipped)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions of each confidence are right. The diagrams of cases add up: `first + second`.

    Attributes:
        edges: (bins + 1,), rising from 0 to 1; a bin holds its upper edge, the first one 0 as well.
        count: (bins,) predictions.
        confidence_sum: (bins,) of their confidences.
        correct_sum: (bins,) right ones among them.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence_sum: np.ndarray
    correct_sum: np.ndarray

    def __add__(self, other: Reliability) -> Reliability:
        """The diagram of both sets of predictions.

        Raises:
            ValueError: other bins.
        """
        if not np.array_equal(self.edges, other.edges):
            raise ValueError(f"diagrams of {len(self.count)} and {len(other.count)} bins do not add up")
        return Reliability(
            self.edges,
            self.count + other.count,
            self.confidence_sum + other.confidence_sum,
            self.correct_sum + other.correct_sum,
        )

    @property
    def mean_confidence(self) -> np.ndarray:
        """(bins,) in [0, 1], NaN where a bin is empty."""
        return _ratio(self.confidence_sum, self.count)

    @property
    def accuracy(self) -> np.ndarray:
        """(bins,) in [0, 1], NaN where a bin is empty."""
        return _ratio(self.correct_sum, self.count)

    @property
    def expected_calibration_error(self) -> float:
        """Mean over predictions of |accuracy - mean confidence| of their bin, in [0, 1]; NaN without any."""
        gap = np.abs(self.correct_sum - self.confidence_sum).sum()
        return float(_ratio(gap, self.count.sum()))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Sort predictions into `bins` of equal width.

    Args:
        confidence: any shape, in [0, 1]. Softmax heads: the largest probability of a pixel. A region: its
            probability.
        correct: of the same shape, false or true. Softmax heads: the most probable class is the true one. A
            region: the pixel belongs to it.
        bins: at least 1.

    Raises:
        ValueError: shapes that differ, a confidence that is NaN or out of range, or no bin.
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    if confidence.shape != correct.shape or bins < 1:
        raise ValueError(f"{bins} bins, confidence {confidence.shape} and correct {correct.shape}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidences must be from 0 to 1")
    confidence, correct = confidence.ravel(), correct.ravel()
    edges = np.linspace(0, 1, bins + 1)
    chosen = np.searchsorted(edges[1:], confidence)
    return Reliability(
        edges,
        np.bincount(chosen, minlength=bins),
        np.bincount(chosen, confidence, bins),
        np.bincount(chosen, correct, bins),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where `whole` is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
