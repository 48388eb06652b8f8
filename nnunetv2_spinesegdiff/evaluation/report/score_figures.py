"""Figures of scores: all systems, two of them case by case, depths of noise; or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ...plots.depth import draw_depth
from ...plots.pairs import draw_pairs
from ...plots.systems import draw_systems
from .depths import depths_of
from .evaluation_folder import Evaluation, System
from .figures_folder import BOX, FigureEntry, counted, left_out, on, without_dice
from .pairing import Pair, mean_over_folds, paired_dice


def systems_figure(evaluation: Evaluation, path: Path) -> FigureEntry | str:
    labels = [system.label for system in evaluation.systems]
    tables = [
        mean_over_folds(evaluation, system).assign(system=system.label) for system in evaluation.systems
    ]
    scores = pd.concat(tables, ignore_index=True)
    if scores["dice"].isna().all():
        return left_out("systems", "", "no case has a Dice")
    controls = [system.label for system in evaluation.systems if system.control]
    draw_systems(scores, labels, path, controls)
    cases = _each({system.label: evaluation.of(system)["case"].nunique() for system in evaluation.systems})
    caption = (
        f"Dice of {counted(len(labels), 'system')}, one panel per structure. {BOX} Diamonds are means; n is "
        f"the number of cases ({cases})."
    )
    if controls:
        caption += " Hatched boxes are controls."
    return FigureEntry("Dice of all systems", caption + without_dice(scores), path)


def pair_figure(evaluation: Evaluation, pair: Pair, path: Path) -> FigureEntry | str:
    first, second = pair
    kind = f"{first.label} against {second.label}"
    table = paired_dice(evaluation, pair)
    if table.dropna(subset=["first", "second"]).empty:
        return left_out(kind, "", "no case in common that has a Dice of both")
    draw_pairs(table, (first.label, second.label), path)
    caption = (
        f"Dice of {second.label} over that of {first.label}, one point per case, "
        f"{counted(table['case'].nunique(), 'case')} that both predicted. Above the line {second.label} is "
        "better."
    )
    only = [_only_one(evaluation, *pair), _only_one(evaluation, second, first)]
    caption += "".join(f" {text}" for text in only if text)
    table = table.assign(dice=table["first"] + table["second"])
    return FigureEntry(kind, caption + without_dice(table, "one of the predictions"), path)


def depths_figure(
    evaluation: Evaluation, data: str, systems: Sequence[System], path: Path
) -> FigureEntry | str:
    kind = "depth of noise"
    depths = depths_of(systems)
    if isinstance(depths, str):
        return left_out(kind, data, depths)
    tables = [mean_over_folds(evaluation, system).assign(depth=depth) for depth, system in depths.items()]
    scores = pd.concat(tables, ignore_index=True)
    if scores["dice"].isna().all():
        return left_out(kind, data, "no case has a Dice")
    seconds = {t: s.seconds_a_case for t, s in depths.items() if s.seconds_a_case is not None}
    draw_depth(scores, path, seconds)
    cases = _each({f"T = {t}": n for t, n in scores.groupby("depth")["case"].nunique().items()})
    caption = (
        f"Mean Dice over cases ({cases}) by the depth T to which presegmentations are noised{on(data)}. Bars "
        "are 95 % intervals of the mean, as if all cases were independent."
    )
    if seconds:
        unknown = [str(depth) for depth in depths if depth not in seconds]
        caption += " Next to it, seconds per case with reading and writing"
        caption += f" (not known for T = {', '.join(unknown)})." if unknown else "."
    return FigureEntry(f"Depth of noise{on(data)}", caption + without_dice(scores), path)


def _each(counts: Mapping[str, int]) -> str:
    """One number where all are the same."""
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} of each"
    return ", ".join(f"{number} of {name}" for name, number in counts.items())


def _only_one(evaluation: Evaluation, one: System, other: System) -> str:
    only = set(evaluation.of(one)["case"]) - set(evaluation.of(other)["case"])
    return f"{counted(len(only), 'case')} that only {one.label} predicted: not shown." if only else ""
