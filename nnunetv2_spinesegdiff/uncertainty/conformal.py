"""Conformal bounds on a structure's area or volume, which hold for about a stated share of new cases.

After Vovk et al., *Algorithmic Learning in a Random World*, 2005, and Angelopoulos & Bates, *A Gentle
Introduction to Conformal Prediction*, 2021 (arXiv 2107.07511). The only assumption is that new patients are
exchangeable with those of the calibration cases: the model was not trained on these, and patients and scans
are of the same kind. The share holds for all cases together, not for subgroups.

Cases of one patient (T1w and T2w) resemble each other and are not exchangeable with those of others. Every
patient therefore has the same weight, which its cases share: the hierarchical conformal prediction of Lee,
Barber & Willett, *Distribution-free inference with hierarchical data* (arXiv 2306.06342). It covers a new
case of a new patient. The largest score of every patient would cover all cases of a new patient with wider
bounds, which is more than is promised. With one random score of every patient (Dunn, Wasserman & Ramdas,
arXiv 1809.07441) the bounds would depend on the draw.

`calibrate` predicts every case with the model of the fold that was not trained on it. The bounds are used
with one of these models or their mean. They are cross-conformal (Vovk 2015, *Annals of Mathematics and
Artificial Intelligence* 74): at a level of 0.9 about 90 % of new cases are covered, but only about 80 % are
guaranteed. Bounds of a single model that was trained on none of the cases would be split-conformal.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np


def area_quantile(
    true: np.ndarray,
    predicted: np.ndarray,
    unit: float | np.ndarray,
    level: float = 0.9,
    patients: Sequence[Hashable] | None = None,
) -> float:
    """Compute a quantile of the score |log((true + unit) / (predicted + unit))|.

    With K patients, each of the m cases of a patient has the weight 1 / (m (K + 1)). The quantile is the
    smallest score at which the weights sum to `level`. With one case per patient, it is the
    ceil((K + 1) * level)-th smallest score. If all scores are of one model, the truth of a case of a new
    patient is within `area_bounds` with a probability of at least `level`. With one case per patient and no
    equal scores, it is at most `level` + 1 / (K + 1).

    Args:
        true: (n,) areas in mm2 or volumes in mm3, at least 0.
        predicted: (n,) predicted areas or volumes.
        unit: area or volume of one voxel, above 0, a scalar or (n,). It keeps the score of an empty mask
            finite.
        level: share of cases that the bounds should hold for, above 0 and below 1.
        patients: (n,) the patient of every case; by default every case is of another patient.

    Returns:
        Quantile, no unit, at least 0. It is inf with too few patients for the level (K < 9 at 0.9).

    Raises:
        ValueError: the shapes do not fit, or values are not finite or out of range.

    Examples:
        >>> predicted = np.full(9, 100.0)
        >>> round(area_quantile(predicted * 1.1, predicted, unit=1.0), 3)
        0.094
    """
    scores = _scores(true, predicted, unit)
    return _quantile(scores, level, _numbers(patients, len(scores)))


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
    patients: Sequence[Hashable] | None = None,
) -> float:
    """Compute the share of cases whose truth is within the bounds computed from the other groups.

    Args:
        true: (n,), see `area_quantile`.
        predicted: (n,), see `area_quantile`.
        unit: see `area_quantile`.
        groups: (n,), the fold of every case. All cases of one patient must be in the same group.
        level: see `area_quantile`.
        patients: see `area_quantile`.

    Returns:
        Share, 0 to 1. It is NaN without cases, or if the other groups have too few patients for the
            level.

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
    numbers = _numbers(patients, len(scores))
    others = {group: groups != group for group in np.unique(groups)}
    quantiles = {group: _quantile(scores[kept], level, numbers[kept]) for group, kept in others.items()}
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


def _numbers(patients: Sequence[Hashable] | None, cases: int) -> np.ndarray:
    """Number (n,) of the patient of every case; ValueError where `patients` are not as many as cases."""
    if patients is None:
        return np.arange(cases)
    if len(patients) != cases:
        raise ValueError(f"{len(patients)} patients of {cases} cases do not fit")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(patient, len(known)) for patient in patients], int)


def _quantile(scores: np.ndarray, level: float, patients: np.ndarray) -> float:
    """The smallest of (n,) scores up to which the cases' weights sum to the level, or inf."""
    if not 0 < level < 1:
        raise ValueError(f"a level is above 0 and below 1, not {level}")
    _, own, counts = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    # Weights are times K + 1. Rounded: 100 * 0.55 is 55.00000000000001, which would be one case too many.
    summed = np.cumsum(1 / counts[own][order]).round(9)
    place = int(np.searchsorted(summed, round((len(counts) + 1) * level, 9)))
    return float(scores[order][place]) if place < len(scores) else math.inf
