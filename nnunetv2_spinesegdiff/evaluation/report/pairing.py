"""Which systems of an evaluation are held against each other, and their Dice case by case."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...errors import UserError
from .evaluation_folder import Evaluation, System

Pair = tuple[System, System]


def by_data(systems: Sequence[System]) -> dict[str, list[System]]:
    """Systems by what they were trained on, both in their order."""
    groups: dict[str, list[System]] = {}
    for system in systems:
        groups.setdefault(system.data, []).append(system)
    return groups


def pairs_of(systems: Sequence[System], names: tuple[str, str] | None = None) -> list[Pair]:
    """What to compare: of each data the first and the last system that is no control, or those named.

    Args:
        systems: of the evaluation.
        names: labels of two systems; or names, which pair those of each data that has both.

    Raises:
        UserError: no system has such a name, or none of the same data.
    """
    if names is None:
        proposed = by_data([system for system in systems if not system.control])
        return [(group[0], group[-1]) for group in proposed.values() if len(group) > 1]
    first, second = (_called(name, systems) for name in names)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    pairs = [(one, other) for one in first for other in second if one.data == other.data]
    if not pairs:
        raise UserError(
            f"{names[0]}, {names[1]}: were not trained on the same data; name both with their data"
        )
    return pairs


def mean_over_folds(evaluation: Evaluation, system: System) -> pd.DataFrame:
    """`structure`, `case`, `contrast`, `dice`: a row each, where several folds predicted a case their mean.

    The structures come in the evaluation's order.
    """
    order = {name: place for place, name in enumerate(evaluation.structures)}
    scores = evaluation.of(system).groupby(["structure", "case"], sort=False, as_index=False)
    table = scores.agg({"contrast": "first", "dice": "mean"})
    return table.sort_values("structure", key=lambda names: names.map(order), kind="stable")


def paired_dice(evaluation: Evaluation, pair: Pair) -> pd.DataFrame:
    """`structure`, `case`, `contrast`, `first`, `second`: a row for each case that both systems predicted."""
    first, second = (mean_over_folds(evaluation, system) for system in pair)
    return first.rename(columns={"dice": "first"}).merge(
        second.drop(columns="contrast").rename(columns={"dice": "second"}), on=["structure", "case"]
    )


def _called(name: str, systems: Sequence[System]) -> list[System]:
    found = [system for system in systems if system.label == name]
    found = found or [system for system in systems if system.name == name]
    if not found:
        known = ", ".join(system.label for system in systems)
        raise UserError(f"{name}: no system is called so; there are {known}")
    return found
