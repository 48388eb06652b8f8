"""Which systems of an evaluation are compared, and their Dice case by case."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...errors import UserError
from .evaluation_folder import Evaluation, System, systems_called

Pair = tuple[System, System]


def by_data(systems: Sequence[System]) -> dict[str, list[System]]:
    """Systems by what they were trained on, both in their order."""
    groups: dict[str, list[System]] = {}
    for system in systems:
        groups.setdefault(system.data, []).append(system)
    return groups


def pairs_of(systems: Sequence[System], names: tuple[str, str] | None = None) -> list[Pair]:
    """Pair the first and the last system of each data that are not controls, or those named.

    Args:
        systems: of the evaluation.
        names: labels of two systems; or names, for a pair of each data that has both.

    Raises:
        UserError: unknown name, or no two systems with these names have the same data.
    """
    if names is None:
        proposed = by_data([system for system in systems if not system.control])
        return [(group[0], group[-1]) for group in proposed.values() if len(group) > 1]
    first, second = (systems_called(name, systems) for name in names)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    pairs = [(one, other) for one in first for other in second if one.data == other.data]
    if not pairs:
        raise UserError(
            f"{names[0]}, {names[1]}", "were not trained on the same data", "name both with their data"
        )
    return pairs


def mean_over_folds(evaluation: Evaluation, system: System) -> pd.DataFrame:
    """`structure`, `case`, `contrast`, `dice`, one row each; the mean where several folds predicted a case.

    The structures come in the order of the evaluation.
    """
    scores = evaluation.of(system).groupby(["structure", "case"], sort=False, as_index=False)
    table = scores.agg({"contrast": "first", "dice": "mean"})
    order = {name: place for place, name in enumerate(evaluation.structures)}
    return table.sort_values("structure", key=lambda names: names.map(order), kind="stable")


def paired_dice(evaluation: Evaluation, pair: Pair) -> pd.DataFrame:
    """`structure`, `case`, `contrast`, `first`, `second`: one row per case that both systems predicted."""
    first, second = (
        mean_over_folds(evaluation, system).rename(columns={"dice": name})
        for system, name in zip(pair, ("first", "second"), strict=True)
    )
    return first.merge(second.drop(columns="contrast"), on=["structure", "case"])
