"""How often a structure was found, missed, or drawn where none is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

FOUND = ("both", "missed", "false", "neither")
"""In label and prediction, in the label alone, in the prediction alone, in none of them."""


def count_found(scores: pd.DataFrame, names: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Cases by what was found, a row a system, data and structure.

    Args:
        scores: columns `system`, `data`, `structure` and `found`, a row a case and structure.
        names: systems and data, in the order of the rows.

    Returns:
        `system`, `data`, `structure`, `cases`, and a column for each of `FOUND`, which add up to `cases`.

    Raises:
        ValueError: `found` holds something else.
    """
    if unknown := sorted(set(scores["found"]) - set(FOUND)):
        raise ValueError(f"found is none of {', '.join(FOUND)}: {', '.join(map(str, unknown))}")
    rows = []
    for system, data in names:
        own = scores[(scores["system"] == system) & (scores["data"] == data)]
        for structure, cases in own.groupby("structure", sort=False):
            counts = {found: int((cases["found"] == found).sum()) for found in FOUND}
            rows.append(
                {"system": system, "data": data, "structure": structure, "cases": len(cases), **counts}
            )
    return pd.DataFrame(rows, columns=["system", "data", "structure", "cases", *FOUND])
