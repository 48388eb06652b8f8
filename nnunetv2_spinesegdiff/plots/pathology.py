"""Dice of patients with a finding against those without it (the paper's figure 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..text import p_statement, spelled
from .boxes import draw_box
from .style import IN_PRINT, WIDTH_MM, draw_grid, new_figure, panels, save_figure, wrapped

WITH: dict[str, Any] = {"color": "#d55e00", "hatch": "////", "marker": "^"}
WITHOUT: dict[str, Any] = {"color": "#56b4e9", "hatch": "", "marker": "o"}
"""Different in gray, too: the darker one is hatched."""
PAIR_MM = 22
"""For the two boxes of a structure, so that the p above them has room. With more of them than fit
the figure grows beyond the page's width."""
PANEL_MM = 52
"""High, with its title and what is written below."""
APART = 0.22
"""Half the distance of a pair's boxes, where the structures are 1 apart."""


@rc_context(IN_PRINT)
def draw_pathology(groups: pd.DataFrame, tests: pd.DataFrame, path: Path, title: str) -> None:
    """Draw one panel per finding with, for every structure, the patients with it next to those without.

    Every patient is a point. The number of patients is below each box, the corrected p above each pair: bold
    and with a star if it is significant, or "n/a" and why nothing was tested. Patients whose Dice is NaN are
    neither shown nor counted. Written as PNG and as PDF, both or none.

    Args:
        groups: `finding`, `structure`, `present` (bool), `patient`, `dice` (0 to 1 or NaN), at least one
            known. Findings and structures are drawn in their order.
        tests: one row per finding and structure: `finding`, `structure`, `p_corrected` (0 to 1, NaN where
            nothing was tested), `significant` (bool) and `reason` why nothing was tested.
        path: of the PNG.
        title: above all panels.
    """
    findings, structures = groups["finding"].unique(), groups["structure"].unique()
    columns = int(np.clip(WIDTH_MM // (15 + PAIR_MM * len(structures)), 1, 3))
    rows = -(-len(findings) // columns)
    width = max(WIDTH_MM, 15 + PAIR_MM * len(structures))
    figure = new_figure(width, rows * PANEL_MM + 16, "constrained")
    axes = panels(figure, len(findings), columns, sharey=True)
    lowest = groups["dice"].min()
    lines = []
    for axis, finding in zip(axes, findings, strict=True):
        shown, tested = (table[table["finding"] == finding] for table in (groups, tests))
        texts = _draw_finding(axis, shown, tested, list(structures))
        lines.append(max(text.count("\n") + 1 for text in texts))
        axis.set_ylim(lowest - 0.05 * (1 - lowest) - 0.01, 1.01)
        axis.set_ylabel("Dice")
        draw_grid(axis, "y")
    for place, (axis, finding) in enumerate(zip(axes, findings, strict=True)):
        first = place // columns * columns
        above = max(lines[first : first + columns])  # the same for all titles of a row
        axis.set_title(wrapped(str(finding), 60), fontweight="bold", pad=4 + 9 * above)
    boxes = [
        Patch(facecolor=look["color"], hatch=look["hatch"], edgecolor="black", alpha=0.75, label=label)
        for look, label in ((WITH, "with the finding"), (WITHOUT, "without it"))
    ]
    figure.legend(handles=boxes, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


def _draw_finding(axis: Axes, groups: pd.DataFrame, tests: pd.DataFrame, structures: list[str]) -> list[str]:
    """Draw boxes, sizes and p of one finding; return the texts above the pairs."""
    texts, sizes = [], {}
    for place, structure in enumerate(structures):
        of_structure = groups[(groups["structure"] == structure) & groups["dice"].notna()]
        for present, at, look in ((True, place - APART, WITH), (False, place + APART, WITHOUT)):
            dice = of_structure.loc[of_structure["present"] == present, "dice"].to_numpy(dtype=float)
            draw_box(axis, dice, at, **look, width=0.34)
            sizes[at] = len(dice)
        test = tests[tests["structure"] == structure].iloc[0]
        if np.isnan(test["p_corrected"]):
            texts.append(f"n/a\n{wrapped(test['reason'], PAIR_MM)}")
        else:
            texts.append(p_statement(test["p_corrected"]) + (" *" if test["significant"] else ""))
        axis.annotate(
            texts[-1],
            (place, 1),
            (0, 2),
            xycoords=axis.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=7,
            fontweight="bold" if test["significant"] else "normal",
            ha="center",
            va="bottom",
        )
    # The structures' names go below the sizes, in the place of a second line.
    axis.set_xticks(range(len(structures)), [f"\n{wrapped(spelled(name), PAIR_MM)}" for name in structures])
    axis.set_xticks(list(sizes), [f"n={size}" for size in sizes.values()], fontsize=7, minor=True)
    axis.tick_params(axis="x", which="major", length=0)
    axis.set_xlim(-0.5, len(structures) - 0.5)
    return texts
