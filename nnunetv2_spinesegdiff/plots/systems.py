"""Dice of every system, side by side (the paper's figure 5, for all systems)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..text import spelled
from .boxes import draw_box
from .style import IN_PRINT, WIDTH_MM, draw_grid, looks_of, new_figure, panels, save_figure, wrapped

NAME_MM = 38
ROW_MM = 7.5
FEW = 40
"""Up to so many cases every one is a point; of more, only outliers are."""


@rc_context(IN_PRINT)
def draw_systems(
    scores: pd.DataFrame, systems: Sequence[str], path: Path, controls: Collection[str] = ()
) -> None:
    """Draw one panel per structure, with one box per system from top to bottom, and the numbers of cases.

    White diamonds are means. Cases whose Dice is NaN are neither shown nor counted. Written as PNG and as
    PDF, both or none.

    Args:
        scores: `system`, `structure`, `dice` (0 to 1 or NaN, at least one known), one row per case of each.
        systems: in their order.
        path: of the PNG.
        controls: those of `systems` that are hatched.
    """
    structures = scores["structure"].unique()
    scores = scores[scores["dice"].notna()]
    columns = 2 if len(structures) == 4 else 3
    rows = -(-len(structures) // columns)
    has_controls = any(name in controls for name in systems)
    figure = new_figure(WIDTH_MM, rows * (ROW_MM * len(systems) + 16) + 8 * has_controls, "constrained")
    axes = panels(figure, len(structures), columns, sharey=True)
    looks = looks_of(structures)
    lowest = scores["dice"].min()
    for axis, structure in zip(axes, structures, strict=True):
        color, _ = looks[structure]
        _draw_structure(axis, scores[scores["structure"] == structure], systems, controls, color)
        axis.set(title=spelled(structure), xlabel="Dice", xlim=(lowest - 0.05 * (1 - lowest) - 0.005, 1.01))
    names = [wrapped(name, NAME_MM) for name in systems]
    for axis in axes[::columns]:
        axis.set_yticks(range(len(systems)), names)
    axes[0].set_ylim(len(systems) - 0.5, -0.5)
    if has_controls:
        patch = Patch(facecolor="white", edgecolor="black", hatch="////", label="control")
        figure.legend(handles=[patch], loc="outside lower center", frameon=False)
    save_figure(figure, path)


def _draw_structure(
    axis: Axes, scores: pd.DataFrame, systems: Sequence[str], controls: Collection[str], color: str
) -> None:
    beside = axis.get_yaxis_transform()
    axis.text(1.03, 1, "n", transform=axis.transAxes, fontsize=7, va="bottom")
    for place, system in enumerate(systems):
        values = scores.loc[scores["system"] == system, "dice"].to_numpy(dtype=float)
        draw_box(
            axis,
            values,
            place,
            color,
            hatch="////" if system in controls else "",
            orientation="horizontal",
            marker="o" if len(values) <= FEW else "",
            mean=True,
        )
        axis.text(1.03, place, str(len(values)), transform=beside, fontsize=7, va="center")
    draw_grid(axis, "x")
    axis.tick_params(axis="y", length=0)
