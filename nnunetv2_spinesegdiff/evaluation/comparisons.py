"""Is one system better than another on the same patients? Differences with intervals and corrected p."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, wilcoxon
from statsmodels.stats.multitest import multipletests

from .columns import DISTANCES, Name, rows_of

ALPHA = 0.05
RESAMPLES = 9999
COLUMNS = (
    *("system_a", "data_a", "system_b", "data_b", "structure", "metric", "patients", "not_compared"),
    *("mean_difference", "low", "high", "p", "p_corrected", "significant"),
)
METHOD = (
    "A patient's cases are averaged first. p is of Wilcoxon's signed-rank test, corrected after Holm over "
    "all tests of the table; 95 % intervals are bootstrapped over patients."
)
NO_CONTROL = (
    "No control was evaluated: a difference may come from more training alone. Name one with --control, for "
    "example stage 1 trained for as many iterations more."
)


def compare(
    scores: pd.DataFrame, names: Sequence[Name], metric: str = "dice", against: str | None = None
) -> pd.DataFrame:
    """Compare every pair of systems on what both have scored: b minus a, one row per structure.

    A patient's cases (T1w and T2w) are not independent: their differences are averaged first. Tested with
    Wilcoxon's signed-rank test, two-sided; p is corrected after Holm over all rows of the table. The 95 %
    interval of the mean difference is from a bias-corrected and accelerated bootstrap over patients.

    Args:
        scores: of scores.csv.
        names: the systems, in the order in which they are to be compared: the earlier one is a.
        metric: a score's column.
        against: name of the only system that others are compared with; it is then a.

    Returns:
        `COLUMNS`; `not_compared` counts common cases that have no score of one of the two, distances for
        example where one missed the structure. Systems without a common case have no rows; where all
        differences are 0 p is 1.
    """
    rows = []
    for a, b in _pairs(names, against):
        table = pd.merge(
            *(rows_of(scores, name) for name in (a, b)), on=["case", "structure"], suffixes=("_a", "_b")
        )
        table["difference"] = table[f"{metric}_b"] - table[f"{metric}_a"]
        for structure, of_structure in table.groupby("structure", sort=False):
            differences = of_structure.groupby("patient_a")["difference"].mean().dropna().to_numpy()
            dropped = int(of_structure["difference"].isna().sum())
            if len(differences):
                counts = (len(differences), dropped)
                rows.append([*a, *b, structure, metric, *counts, *_test(differences)])
    made = pd.DataFrame(rows, columns=list(COLUMNS[: COLUMNS.index("p") + 1]))
    made["p_corrected"] = corrected(made["p"], "holm")
    made["significant"] = made["p_corrected"] < ALPHA
    return made


def corrected(p: pd.Series, method: str) -> pd.Series:
    """Adjust the p-values of a family by a method of statsmodels; NaN, a test that was not made, stays."""
    made = p.dropna().astype(float)
    adjusted = multipletests(made, method=method)[1] if len(made) else []
    return pd.Series(adjusted, index=made.index, dtype=float).reindex(p.index)


def not_compared_note(comparisons: pd.DataFrame) -> str:
    """Count distances that exist in only one of two systems; empty where there are none."""
    dropped = int(comparisons.loc[comparisons["metric"].isin(DISTANCES), "not_compared"].sum())
    if not dropped:
        return ""
    return (
        f"The distance of a structure that one of two systems missed is undefined, so {dropped} "
        "comparisons of a case are omitted. That favors a system that misses what is hard."
    )


def _pairs(names: Sequence[Name], against: str | None) -> list[tuple[Name, Name]]:
    """Only systems that were trained on the same data are compared."""
    if against is None:
        return [(a, b) for a, b in combinations(names, 2) if a[1] == b[1]]
    return [(a, b) for a in names for b in names if a[0] == against and b[0] != against and a[1] == b[1]]


def _test(differences: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, its interval, and p."""
    mean = float(differences.mean())
    if not differences.any():
        return mean, mean, mean, 1.0
    return mean, *_interval(differences), float(wilcoxon(differences).pvalue)


def _interval(differences: np.ndarray) -> tuple[float, float]:
    if len(differences) < 2:
        return np.nan, np.nan
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    with warnings.catch_warnings():
        # With few patients the acceleration may not exist; the interval is then NaN.
        warnings.simplefilter("ignore")
        made = bootstrap((differences,), np.mean, n_resamples=RESAMPLES, rng=np.random.default_rng(0))
    return float(made.confidence_interval.low), float(made.confidence_interval.high)
