"""Dice of patients with a finding against those without it (the paper's figure 2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..text import p_statement, spelled
from .boxes import draw_box
from .style import IN_PRINT, WIDTH_MM, draw_grid, new_figure, panels, save_figure, wrapped

WITH, WITHOUT = {"colour": "#d55e00", "hatch": "////"}, {"colour": "#56b4e9", "hatch": ""}
"""Apart in grey, too: the darker one is hatched."""
MARKERS = {True: "^", False: "o"}
PAIR_MM = 22
"""For the two boxes of a structure, so that the p above them has room. With more of them than fit
the figure grows beyond the page's width."""
PANEL_MM = 52
"""High, with its title and what is written below."""
APART = 0.22
"""Half the distance of a pair's boxes, where the structures are 1 apart."""


@rc_context(IN_PRINT)
def draw_pathology(groups: pd.DataFrame, tests: pd.DataFrame, path: Path, title: str = "") -> None:
    """A panel a finding; in it, for every structure, the patients with it beside those without.

    Every patient is a point. Below each box stands how many it shows, above each pair the corrected p: bold
    and with a star where it is significant, "n/a" and why where nothing could be tested. Patients whose Dice
    is NaN are not shown, nor counted. Written as PNG and as PDF, both or none.

    Args:
        groups: `finding`, `structure`, `present` (bool), `patient`, `dice` (0 to 1 or NaN): a row each.
            Findings and structures are drawn in the order in which they come.
        tests: `finding`, `structure`, `p_corrected` (0 to 1, NaN where nothing was tested), `significant`
            (bool); a `reason` why nothing was tested is written, where there is such a column.
        path: of the PNG.
        title: above all panels.

    Raises:
        ValueError: there is no group, or a finding and structure has two tests.
    """
    if groups.empty:
        raise ValueError("no groups of patients to draw")
    if tests.duplicated(["finding", "structure"]).any():
        raise ValueError("two tests of the same finding and structure")
    findings, structures = groups["finding"].unique(), groups["structure"].unique()
    columns = int(np.clip(WIDTH_MM // (15 + PAIR_MM * len(structures)), 1, 3))
    rows = -(-len(findings) // columns)
    width = max(WIDTH_MM, 15 + PAIR_MM * len(structures))
    figure = new_figure(width, rows * PANEL_MM + 10 + 6 * bool(title), "constrained")
    axes = panels(figure, len(findings), columns, sharey=True)
    lowest = np.nanmin(groups["dice"].to_numpy(dtype=float)) if groups["dice"].notna().any() else 0
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
        Patch(facecolor=look["colour"], hatch=look["hatch"], edgecolor="black", alpha=0.75, label=label)
        for look, label in ((WITH, "with the finding"), (WITHOUT, "without it"))
    ]
    figure.legend(handles=boxes, loc="outside lower center", ncols=2, frameon=False)
    if title:
        figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


def _draw_finding(axis: Axes, groups: pd.DataFrame, tests: pd.DataFrame, structures: list[str]) -> list[str]:
    """Boxes, sizes and p of one finding; returns what was written above the pairs."""
    texts, sizes = [], {}
    for place, structure in enumerate(structures):
        of_structure = groups[(groups["structure"] == structure) & groups["dice"].notna()]
        pair = {}
        for present, look in ((True, WITH), (False, WITHOUT)):
            at = place + (-APART if present else APART)
            pair[present] = of_structure.loc[of_structure["present"] == present, "dice"].to_numpy(dtype=float)
            draw_box(
                axis,
                pair[present],
                at,
                look["colour"],
                hatch=look["hatch"],
                width=0.34,
                marker=MARKERS[present],
            )
            sizes[at] = len(pair[present])
        text, significant = _p(tests[tests["structure"] == structure], pair[True], pair[False])
        axis.annotate(
            text,
            (place, 1),
            (0, 2),
            xycoords=axis.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=7,
            fontweight="bold" if significant else "normal",
            ha="center",
            va="bottom",
        )
        texts.append(text)
    # The structures' names go below the sizes, in the place of a second line.
    axis.set_xticks(range(len(structures)), [f"\n{wrapped(spelled(name), PAIR_MM)}" for name in structures])
    axis.set_xticks(list(sizes), [f"n={size}" for size in sizes.values()], fontsize=7, minor=True)
    axis.tick_params(axis="x", which="major", length=0)
    axis.set_xlim(-0.5, len(structures) - 0.5)
    return texts


def _p(test: pd.DataFrame, present: np.ndarray, absent: np.ndarray) -> tuple[str, bool]:
    """What is written above a pair, and whether it is significant."""
    p = float(test["p_corrected"].iloc[0]) if len(test) else np.nan
    if np.isnan(p):
        return f"n/a\n{_reason(test, present, absent)}", False
    significant = bool(test["significant"].iloc[0])
    return f"{p_statement(p)} *" if significant else p_statement(p), significant


def _reason(test: pd.DataFrame, present: np.ndarray, absent: np.ndarray) -> str:
    told = test["reason"].iloc[0] if len(test) and "reason" in test else ""
    if isinstance(told, str) and told:
        return wrapped(told, PAIR_MM)
    for values, name in ((present, "with"), (absent, "without")):
        if len(values) < 2:
            return f"{len(values) or 'none'} {name}"
    return "not tested"
