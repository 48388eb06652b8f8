"""Conformal bounds on a structure's area or volume, which hold for about a stated share of new cases.

After Vovk et al., *Algorithmic Learning in a Random World*, 2005, and Angelopoulos & Bates, *A Gentle
Introduction to Conformal Prediction*, 2021 (arXiv 2107.07511). They assume that new patients are exchangeable
with those of the calibration cases: none of these was trained on, and they are of the same kind of patients
and scans. The share is over all cases, not over every kind of case.

Cases of one patient (T1w and T2w) are alike and not exchangeable with those of others. Every patient
therefore weighs the same, its cases share its weight, and the new patient's own weight is at infinity: the
hierarchical conformal prediction of Lee, Barber & Willett, *Distribution-free inference with hierarchical
data* (arXiv 2306.06342). A new case of a new patient is covered as stated. The largest score of every patient
would cover all scans of nine of ten new patients, which is more than is stated, with wider bounds. A random
score of every patient (Dunn, Wasserman & Ramdas, arXiv 1809.07441) would make the bounds depend on the draw.

`calibrate` predicts every case with the model of the fold that was not trained on it, and the bounds are
used with one of these models or their mean. That is cross-conformal (Vovk 2015, *Annals of Mathematics and
Artificial Intelligence* 74): at a level of 0.9 about 90 % of new cases are covered, but only somewhat less
than 80 % are guaranteed. Scores of one model that was trained on none of the cases would be split-conformal.
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
    """How far from the prediction the truth may lie: a quantile of |log((true + unit) / (predicted + unit))|.

    With K patients, each case of a patient with m cases weighs 1 / (m (K + 1)), and the quantile is the
    smallest score at which the weights sum to `level`. With one case per patient this is the
    ceil((K + 1) * level)-th smallest score. If all scores are of one model, the truth of a new patient's case
    is within `area_bounds` with a probability of at least `level`, and with one case per patient and no equal
    scores at most `level` + 1 / (K + 1).

    Args:
        true: (n,) areas in mm2 or volumes in mm3, at least 0.
        predicted: (n,), the same of the prediction.
        unit: area or volume of one voxel, above 0; a scalar or (n,). Keeps the score finite where nothing is.
        level: wanted share of cases within bounds, above 0 and below 1.
        patients: (n,), whose case each is; None: each is of another patient.

    Returns:
        At least 0; inf where patients are too few for the level (K < 9 at 0.9), without cases too.

    Raises:
        ValueError: shapes that do not fit, values that are not finite or out of range.
    """
    scores = _scores(true, predicted, unit)
    return _quantile(scores, level, _numbers(patients, len(scores)))


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
    patients: Sequence[Hashable] | None = None,
) -> float:
    """Share of cases whose truth is within bounds made from the other groups' cases.

    Args:
        true: (n,) as in `area_quantile`.
        predicted: (n,) as there.
        unit: as there.
        groups: (n,), the fold of every case; cases of one patient belong into one group.
        level: as there.
        patients: as there.

    Returns:
        0 to 1; NaN without cases, or where the others of any group are too few for the level.

    Raises:
        ValueError: as `area_quantile`.
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
