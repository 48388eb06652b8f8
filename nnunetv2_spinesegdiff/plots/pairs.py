"""Two systems case by case, for example stage 1 and refined: who gains, who loses, and how much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..text import spelled
from .style import IN_PRINT, WIDTH_MM, draw_grid, new_figure, panels, save_figure, wrapped

LOOKS: dict[str, dict[str, Any]] = {
    "T1w": {"marker": "o", "markerfacecolor": "#0072b2", "markeredgecolor": "#0072b2"},
    "T2w": {"marker": "^", "markerfacecolor": "none", "markeredgecolor": "#d55e00"},
    "": {"marker": "s", "markerfacecolor": "0.7", "markeredgecolor": "0.3"},
}
"""By contrast; any other looks like the unknown one."""


@rc_context(IN_PRINT)
def draw_pairs(pairs: pd.DataFrame, names: tuple[str, str], path: Path) -> None:
    """Draw one panel per structure: Dice of the second system over that of the first, one point per case.

    The titles state the share of cases above the line of equals, and the mean difference. Cases where either
    Dice is NaN are neither shown nor counted. Written as PNG and as PDF, both or none.

    Args:
        pairs: `structure`, `contrast` ("T1w", "T2w" or ""), `first`, `second` (0 to 1 or NaN), one row per
            case and structure; at least one has both.
        names: of the first and of the second system.
        path: of the PNG.
    """
    pairs = pairs.dropna(subset=["first", "second"])
    pairs = pairs.assign(contrast=pairs["contrast"].where(pairs["contrast"].isin(list(LOOKS)), ""))
    structures = pairs["structure"].unique()
    columns = 2 if len(structures) == 4 else min(len(structures), 3)
    rows = -(-len(structures) // columns)
    side = min(WIDTH_MM / columns, 70)
    figure = new_figure(max(side * columns, 90), rows * (side + 10) + 7, "constrained")
    for axis, structure in zip(panels(figure, len(structures), columns), structures, strict=True):
        _draw_structure(axis, pairs[pairs["structure"] == structure])
        axis.set_xlabel(wrapped(f"Dice, {names[0]}", side - 14))
        axis.set_ylabel(wrapped(f"Dice, {names[1]}", side - 14))
    handles = [
        Line2D([], [], linestyle="none", markersize=4, label=contrast or "contrast unknown", **look)
        for contrast, look in LOOKS.items()
        if (pairs["contrast"] == contrast).any()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    save_figure(figure, path)


def _draw_structure(axis: Axes, pairs: pd.DataFrame) -> None:
    lowest = pairs[["first", "second"]].min(axis=None)
    limits = (lowest - 0.05 * (1 - lowest) - 0.005, 1.01)
    axis.plot(limits, limits, color="0.5", linewidth=0.8)
    for contrast, look in LOOKS.items():
        of = pairs[pairs["contrast"] == contrast]
        if len(of):
            axis.plot(
                of["first"],
                of["second"],
                linestyle="none",
                markersize=3,
                markeredgewidth=0.6,
                alpha=0.7,
                **look,
            )
    difference = pairs["second"] - pairs["first"]
    above, equal = (f"{100 * where.mean():.0f} %" for where in (difference > 0, difference == 0))
    on_it = f", on it {equal}" if (difference == 0).any() else ""
    shares = f"above the line {above}{on_it} of {len(pairs)}"
    mean = f"mean difference {difference.mean():+.3f}"
    axis.set_title(f"{spelled(pairs['structure'].iloc[0])}\n{shares}\n{mean}", fontsize=7.5)
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    draw_grid(axis)
