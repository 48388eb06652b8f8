"""What may be said of a difference between two systems, and what the controls say to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Name = tuple[str, str]
"""System and what it was trained on."""

HIGHER_IS_BETTER = {"dice": True, "jaccard": True, "assd_mm": False, "hd95_mm": False}


@dataclass(frozen=True)
class Difference:
    """One structure and metric: `of` minus `than`, mean over patients.

    Attributes:
        of, than: the systems.
        patients: that both have scored.
        mean, low, high: the difference and its interval; NaN where it has none.
        p: corrected; NaN where nothing was tested.
        significant: the corrected p is below the level.
    """

    of: Name
    than: Name
    structure: str
    metric: str
    patients: int
    mean: float
    low: float
    high: float
    p: float
    significant: bool

    @property
    def better(self) -> bool:
        """`of` is better than `than`, and significantly so."""
        return self.significant and (self.mean > 0) == HIGHER_IS_BETTER[self.metric]

    def turned(self) -> Difference:
        """The same, `than` minus `of`."""
        turned = {"of": self.than, "than": self.of, "mean": -self.mean, "low": -self.high, "high": -self.low}
        return Difference(**{**self.__dict__, **turned})


@dataclass(frozen=True)
class Claim:
    """A difference of two proposed systems with what must be read beside it.

    Attributes:
        difference: turned so that `of` is the better one, where it is significant.
        controls: `of` minus each control that it was compared with.
        unmet: controls trained on the same data that it was not compared with.
    """

    difference: Difference
    controls: tuple[Difference, ...]
    unmet: tuple[Name, ...]

    @property
    def stands(self) -> bool:
        """`of` is better than the other one and than every control, of which there is at least one."""
        held = all(control.better for control in self.controls)
        return self.difference.better and bool(self.controls) and held and not self.unmet


def claims_of(comparisons: pd.DataFrame, controls: Collection[Name]) -> list[Claim]:
    """A claim for every row of two systems that are no controls, in the order of the rows.

    Args:
        comparisons: columns `system_a`, `data_a`, `system_b`, `data_b`, `structure`, `metric`, `patients`,
            `mean_difference` (b minus a), `low`, `high`, `p_corrected`, `significant`; the metrics are
            those of `HIGHER_IS_BETTER`.
        controls: the systems that others are held against.
    """
    differences = differences_of(comparisons)
    claims = []
    for difference in differences:
        if difference.of in controls or difference.than in controls:
            continue
        claimed = difference.turned() if difference.significant and not difference.better else difference
        claims.append(_claim(claimed, differences, controls))
    return claims


def differences_of(comparisons: pd.DataFrame) -> list[Difference]:
    """The rows of the table, b being `of`.

    Raises:
        ValueError: a metric of which it is not known whether more is better.
    """
    if unknown := sorted(set(comparisons["metric"]) - set(HIGHER_IS_BETTER)):
        raise ValueError(f"is more better? Unknown of {', '.join(unknown)}")
    return [_difference(row) for row in comparisons.to_dict("records")]


def _difference(row: dict[Any, Any]) -> Difference:
    low, high, p = (float(row[name]) for name in ("low", "high", "p_corrected"))
    return Difference(
        of=(row["system_b"], row["data_b"]),
        than=(row["system_a"], row["data_a"]),
        structure=row["structure"],
        metric=row["metric"],
        patients=int(row["patients"]),
        mean=float(row["mean_difference"]),
        low=low,
        high=high,
        p=p,
        significant=bool(row["significant"]) and not np.isnan(p),
    )


def _claim(claimed: Difference, differences: list[Difference], controls: Collection[Name]) -> Claim:
    same = [d for d in differences if (d.structure, d.metric) == (claimed.structure, claimed.metric)]
    both_ways = [*same, *(d.turned() for d in same)]
    held = tuple(d for d in both_ways if d.of == claimed.of and d.than in controls)
    met = {d.than for d in held}
    unmet = tuple(name for name in controls if name[1] == claimed.of[1] and name not in met)
    return Claim(claimed, held, unmet)
