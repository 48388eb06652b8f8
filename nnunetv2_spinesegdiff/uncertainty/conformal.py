"""Split-conformal bounds on a structure's area or volume, which hold for a stated share of new cases.

After Vovk et al., *Algorithmic Learning in a Random World*, 2005, and Angelopoulos & Bates, *A Gentle
Introduction to Conformal Prediction*, 2021 (arXiv 2107.07511). They assume one thing: new cases are
exchangeable with the calibration cases. So none of these was trained on, they are of the same kind of
patients and scans, and each is of another patient. The share is over all cases, not over every kind of case.
"""

from __future__ import annotations

import math

import numpy as np


def area_quantile(
    true: np.ndarray, predicted: np.ndarray, unit: float | np.ndarray, level: float = 0.9
) -> float:
    """How far from the prediction the truth may lie: a quantile of |log((true + unit) / (predicted + unit))|.

    It is the ceil((n + 1) * level)-th smallest of n cases' scores. The truth of a new case is within
    `area_bounds` with a probability of at least `level`, and at most `level` + 1 / (n + 1) if no scores are
    equal.

    Args:
        true: (n,) areas in mm2 or volumes in mm3, at least 0.
        predicted: (n,), the same of the prediction.
        unit: area or volume of one voxel, above 0; a scalar or (n,). Keeps the score finite where nothing is.
        level: wanted share of cases within bounds, above 0 and below 1.

    Returns:
        At least 0; inf where n is too small for the level (n < 9 at 0.9), without cases too.

    Raises:
        ValueError: shapes that do not fit, values that are not finite or out of range.
    """
    return _quantile(_scores(true, predicted, unit), level)


def area_bounds(
    predicted: np.ndarray | float, quantile: float, unit: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound on the true area or volume.

    Args:
        predicted: any shape, mm2 or mm3, at least 0.
        quantile: as `area_quantile` gives it for cases of the same structure.
        unit: as there; broadcast to `predicted`.

    Returns:
        Two arrays as `predicted`, in its unit, both at least 0; NaN where the quantile is inf.
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
    """Share of cases whose truth is within bounds made from the other groups' cases.

    Args:
        true: (n,) as in `area_quantile`.
        predicted: (n,) as there.
        unit: as there.
        groups: (n,), the fold of every case; cases of one patient belong into one group.
        level: as there.

    Returns:
        0 to 1; NaN without cases, or where the others of any group are too few for the level.

    Raises:
        ValueError: as `area_quantile`.
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
