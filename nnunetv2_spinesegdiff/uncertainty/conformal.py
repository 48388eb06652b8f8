"""Split-conformal bounds on a structure's area or volume, which hold for a stated share of new cases.

After Vovk et al., *Algorithmic Learning in a Random World*, 2005, and Angelopoulos & Bates, *A Gentle
Introduction to Conformal Prediction*, 2021 (arXiv 2107.07511). The only assumption is that new cases are
exchangeable with the calibration cases: the model was not trained on these, every case is of another patient,
and patients and scans are of the same kind. The share holds for all cases together, not for subgroups.
"""

from __future__ import annotations

import math

import numpy as np


def area_quantile(
    true: np.ndarray, predicted: np.ndarray, unit: float | np.ndarray, level: float = 0.9
) -> float:
    """Compute a quantile of the score |log((true + unit) / (predicted + unit))|.

    It is the ceil((n + 1) * level)-th smallest score of n cases. The truth of a new case is within
    `area_bounds` with a probability of at least `level`, and at most `level` + 1 / (n + 1) if no two scores
    are equal.

    Args:
        true: (n,) areas in mm2 or volumes in mm3, at least 0.
        predicted: (n,) predicted areas or volumes.
        unit: area or volume of one voxel, above 0, a scalar or (n,). It keeps the score of an empty mask
            finite.
        level: share of cases that the bounds should hold for, above 0 and below 1.

    Returns:
        Quantile, no unit, at least 0. It is inf if n is too small for the level (n < 9 at 0.9).

    Raises:
        ValueError: the shapes do not fit, or values are not finite or out of range.

    Examples:
        >>> predicted = np.full(9, 100.0)
        >>> round(area_quantile(predicted * 1.1, predicted, unit=1.0), 3)
        0.094
    """
    return _quantile(_scores(true, predicted, unit), level)


def area_bounds(
    predicted: np.ndarray | float, quantile: float, unit: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the lower and the upper bound on the true area or volume.

    Args:
        predicted: predicted areas in mm2 or volumes in mm3, at least 0, any shape.
        quantile: result of `area_quantile` for cases of the same structure.
        unit: area or volume of one voxel, broadcast to `predicted`.

    Returns:
        Two arrays, shape and unit of `predicted`, at least 0. They are NaN if the quantile is inf.

    Examples:
        >>> low, high = area_bounds(100.0, quantile=0.1, unit=1.0)
        >>> round(float(low), 1), round(float(high), 1)
        (90.4, 110.6)
    """
    area, unit = np.broadcast_arrays(np.asarray(predicted, np.float64), np.asarray(unit, np.float64))
    if not np.isfinite(quantile):
        return np.full(area.shape, np.nan), np.full(area.shape, np.nan)
    low, high = ((area + unit) * np.exp(sign * quantile) - unit for sign in (-1, 1))
    return np.maximum(low, 0), np.maximum(high, 0)


def cross_validated_coverage(
    true: np.ndarray,
    predicted: np.ndarray,
    unit: float | np.ndarray,
    groups: np.ndarray,
    level: float = 0.9,
) -> float:
    """Compute the share of cases whose truth is within the bounds computed from the other groups.

    Args:
        true: (n,), see `area_quantile`.
        predicted: (n,), see `area_quantile`.
        unit: see `area_quantile`.
        groups: (n,), the fold of every case. All cases of one patient must be in the same group.
        level: see `area_quantile`.

    Returns:
        Share, 0 to 1. It is NaN without cases, or if the other groups have too few cases for the level.

    Raises:
        ValueError: see `area_quantile`.

    Examples:
        >>> true = np.linspace(80, 120, 40)
        >>> cross_validated_coverage(true, np.full(40, 100.0), 1.0, groups=np.arange(40) % 4)
        0.925
    """
    scores, groups = _scores(true, predicted, unit), np.asarray(groups)
    if groups.shape != scores.shape:
        raise ValueError(f"groups {groups.shape} of cases {scores.shape}")
    quantiles = {group: _quantile(scores[groups != group], level) for group in np.unique(groups)}
    if not quantiles or np.isinf(list(quantiles.values())).any():
        return math.nan
    # Compared as scores: bounds are rounded, and the truth of the case that gives the quantile lies on one.
    return float(np.mean([score <= quantiles[group] for score, group in zip(scores, groups, strict=True)]))


def _scores(true: np.ndarray, predicted: np.ndarray, unit: float | np.ndarray) -> np.ndarray:
    """(n,) of at least 0, natural logarithms of a factor; ValueError as in `area_quantile`."""
    true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    unit = np.asarray(unit, np.float64)
    if true.ndim != 1 or true.shape != predicted.shape or unit.shape not in ((), true.shape):
        raise ValueError(f"true {true.shape}, predicted {predicted.shape} and unit {unit.shape} do not fit")
    if not all(np.isfinite(values).all() for values in (true, predicted, unit)):
        raise ValueError("areas and units must be finite")
    if (true < 0).any() or (predicted < 0).any() or (unit <= 0).any():
        raise ValueError("areas must be at least 0 and units above 0")
    return np.abs(np.log(true + unit) - np.log(predicted + unit))


def _quantile(scores: np.ndarray, level: float) -> float:
    """The ceil((n + 1) * level)-th smallest of (n,), or inf."""
    if not 0 < level < 1:
        raise ValueError(f"a level is above 0 and below 1, not {level}")
    # 100 * 0.55 is 55.00000000000001, whose ceiling would be one too many.
    rank = math.ceil(round((len(scores) + 1) * level, 9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf
