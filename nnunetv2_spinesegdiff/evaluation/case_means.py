"""One number a case: the mean of its structures' Dice."""

from __future__ import annotations

import pandas as pd

MEAN = "mean_dice"


def case_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice of every case, the worst first; cases without any score come last, ties by name.

    Args:
        scores: of one system, columns `case`, `structure` and `dice`. A structure in neither mask (NaN)
            does not count.

    Returns:
        `case` and `MEAN`, 0 to 1 or NaN.
    """
    means = scores.groupby("case", sort=True)["dice"].mean().rename(MEAN).reset_index()
    return means.sort_values(MEAN, kind="stable", na_position="last").reset_index(drop=True)
