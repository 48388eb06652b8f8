"""Words that titles, captions and notes of figures share."""

from __future__ import annotations

import pandas as pd

BOX = (
    "A box reaches from the first to the third quartile, its line is the median, whiskers reach to the "
    "furthest value within 1.5 box lengths."
)


def left_out(kind: str, data: str, reason: str) -> str:
    return f"{titled(kind, data)}: left out, {reason}"


def titled(kind: str, data: str) -> str:
    return f"{kind[0].upper()}{kind[1:]}{on(data)}"


def on(data: str) -> str:
    return f" ({data})" if data else ""


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def without_dice(scores: pd.DataFrame, prediction: str = "prediction") -> str:
    """A sentence on what no box, mean or point stands for; empty where there is nothing to say."""
    missing = scores.loc[scores["dice"].isna(), "structure"].value_counts(sort=False)
    if missing.empty:
        return ""
    counts = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in missing.items())
    return f" Not shown, because neither label nor {prediction} has the structure: {counts}."
