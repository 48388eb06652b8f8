"""What may be claimed of a difference between two systems, given the controls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from .columns import DISTANCES, METRICS, Name

HIGHER_IS_BETTER = {metric: metric not in DISTANCES for metric in METRICS}


@dataclass(frozen=True)
class Difference:
    """One structure and metric: `of` minus `than`, mean over patients.

    Attributes:
        of, than: the systems.
        patients: that both have scored.
        mean, low, high: the difference and its interval; NaN of few patients, which have none.
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
        """Return the comparison with the systems exchanged."""
        return replace(self, of=self.than, than=self.of, mean=-self.mean, low=-self.high, high=-self.low)


@dataclass(frozen=True)
class Claim:
    """A difference of two proposed systems, and how the better one compares with the controls.

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


def differences_of(comparisons: pd.DataFrame) -> list[Difference]:
    """The rows of a table of `comparisons.compare`, b being `of`.

    Raises:
        ValueError: a metric that is not in `HIGHER_IS_BETTER`.
    """
    if unknown := sorted(set(comparisons["metric"]) - set(HIGHER_IS_BETTER)):
        raise ValueError(f"unknown metric {unknown[0]!r}: whether higher is better is not defined")
    return [
        Difference(
            of=(row.system_b, row.data_b),
            than=(row.system_a, row.data_a),
            structure=row.structure,
            metric=row.metric,
            patients=int(row.patients),
            mean=float(row.mean_difference),
            low=float(row.low),
            high=float(row.high),
            p=float(row.p_corrected),
            significant=bool(row.significant) and not pd.isna(row.p_corrected),
        )
        for row in comparisons.itertuples()
    ]


def claims_of(differences: Sequence[Difference], controls: Collection[Name]) -> list[Claim]:
    """A claim for every difference of two systems that are not controls, in their order."""
    both_ways = [*differences, *(difference.turned() for difference in differences)]
    claims = []
    for difference in differences:
        if difference.of in controls or difference.than in controls:
            continue
        claimed = difference.turned() if difference.significant and not difference.better else difference
        held = tuple(
            other
            for other in both_ways
            if (other.structure, other.metric, other.of) == (claimed.structure, claimed.metric, claimed.of)
            and other.than in controls
        )
        met = {other.than for other in held}
        unmet = tuple(name for name in controls if name[1] == claimed.of[1] and name not in met)
        claims.append(Claim(claimed, held, unmet))
    return claims
