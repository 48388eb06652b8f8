"""Dice and seconds by the depth to which presegmentations are noised (the paper's table 2 as a picture)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation
from scipy import stats

from ..text import spelled
from .style import IN_PRINT, MARKERS, WIDTH_MM, draw_grid, looks_of, new_figure, save_figure

LEVEL = 0.95
LOG_FROM = 20
"""Ratio of the longest to the shortest prediction above which seconds have a logarithmic scale."""


@rc_context(IN_PRINT)
def draw_depth(scores: pd.DataFrame, path: Path, seconds: Mapping[int, float] | None = None) -> None:
    """Draw the mean Dice of every structure against T with its interval, and the seconds per case.

    T has a square-root scale, on which 0 and all depths of the paper have room. Cases whose Dice is NaN do
    not count. Written as PNG and as PDF, both or none.

    Args:
        scores: `depth` (T, a whole number from 0), `structure`, `dice` (0 to 1 or NaN, at least one known),
            one row per case of each.
        path: of the PNG.
        seconds: per case at depth T, where known; without any there is no panel of them.
    """
    looks = looks_of(scores["structure"].unique())
    scores = scores[scores["dice"].notna()]
    depths = np.sort(scores["depth"].unique())
    known = {depth: value for depth, value in sorted((seconds or {}).items()) if depth in depths}
    figure = new_figure(WIDTH_MM if known else 0.6 * WIDTH_MM, 75, "constrained")
    axes = figure.subplots(1, 2 if known else 1, squeeze=False, width_ratios=(3, 2) if known else None)[0]
    ends = []
    for number, (structure, (color, line)) in enumerate(looks.items()):
        table = means(scores[scores["structure"] == structure])
        if table.empty:
            continue
        ends += [table["low"].min(), table["high"].max()]
        # Side by side, so that one structure's interval does not hide another's.
        aside = ScaledTranslation((number - (len(looks) - 1) / 2) * 3 / 72, 0, figure.dpi_scale_trans)
        axes[0].errorbar(
            table.index,
            table["mean"],
            [table["mean"] - table["low"], table["high"] - table["mean"]],
            color=color,
            linestyle=line,
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1,
            elinewidth=0.8,
            capsize=2,
            label=spelled(structure),
            transform=axes[0].transData + aside,
        )
    room = 0.05 * (max(ends) - min(ends)) + 0.005
    axes[0].set(ylabel="Dice", ylim=(min(ends) - room, max(ends) + room))
    figure.legend(loc="outside upper left", ncols=min(len(looks), 6), frameon=False)
    if known:
        _draw_seconds(axes[1], known)
    for axis in axes:
        axis.set_xscale("function", functions=(_root, _square))
        axis.set_xlim(-0.003 * depths[-1], depths[-1] * 1.15 + 1)
        axis.set_xticks(depths, [str(depth) for depth in depths])
        axis.set_xlabel("depth T (square-root scale)")
        draw_grid(axis)
    save_figure(figure, path)


def means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice and its 95 % interval (Student's t, every case counted as independent), one row per depth.

    Args:
        scores: `depth`, `dice` (0 to 1).

    Returns:
        `mean`, `low`, `high` by depth; `low` and `high` are the mean of a single case.
    """
    table = scores.groupby("depth")["dice"].agg(["mean", "sem", "count"])
    half = stats.t.ppf((1 + LEVEL) / 2, (table["count"] - 1).clip(lower=1)) * table["sem"].fillna(0)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)[["mean", "low", "high"]]


def _draw_seconds(axis: Axes, seconds: Mapping[int, float]) -> None:
    values = list(seconds.values())
    axis.plot(list(seconds), values, "-", color="black", marker="o", markersize=4, linewidth=1)
    for depth, value in seconds.items():
        text = axis.annotate(f"{value:.3g}", (depth, value), (0, 5), textcoords="offset points", fontsize=7)
        text.set(ha="center", path_effects=[withStroke(linewidth=2, foreground="white")])
    if min(values) > 0 and max(values) > LOG_FROM * min(values):
        axis.set(
            yscale="log", ylabel="seconds per case (logarithmic)", ylim=(min(values) / 2, max(values) * 3)
        )
        axis.yaxis.set_major_formatter("{x:g}")
    else:
        axis.set(ylabel="seconds per case", ylim=(0, max(values) * 1.2))


def _root(values: np.ndarray) -> np.ndarray:
    """Square root, and for the margin left of T = 0 its mirror image."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.square(values)
