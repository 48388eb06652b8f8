"""Rows of cases: slice, truth, each system's mask, and its uncertainty (the paper's figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from ..text import spelled
from ..uncertainty.confidence import Structures, structure_mask
from .layers import draw_contour, draw_heatmap, draw_slice, filled, tinted
from .style import IN_PRINT, WIDTH_MM, looks_of, new_figure, save_figure, wrapped

LEAST_MM, MOST_MM = 17.5, 40.0
"""Of a panel and the gap next to it. With too many columns the figure grows beyond the page."""
HIGHEST_MM = 225
"""Of all panels together, on one page."""


@dataclass(frozen=True)
class CaseRow:
    """One case of `draw_cases`, every array (H, W) with the picture's first row at the top.

    Attributes:
        title: to the left of the row.
        image: intensities.
        masks: column title to label map, in the order of the columns; None gives a gray panel.
        uncertainty: heatmap, 0 to the highest value of its measure; None gives a gray panel.
        spacing: mm between rows, and between columns.
        dice: column title to a Dice, written into its panel.
    """

    title: str
    image: np.ndarray
    masks: Mapping[str, np.ndarray | None]
    uncertainty: np.ndarray | None = None
    spacing: tuple[float, float] = (1.0, 1.0)
    dice: Mapping[str, float] = field(default_factory=dict)

    @property
    def aspect(self) -> float:
        """mm between rows over mm between columns."""
        return self.spacing[0] / self.spacing[1]

    @property
    def height(self) -> float:
        """Height of a panel, as a multiple of its width."""
        return self.image.shape[0] * self.aspect / self.image.shape[1]


@rc_context(IN_PRINT)
def draw_cases(
    rows: Sequence[CaseRow],
    labels: Structures,
    path: Path,
    *,
    measure: str = "entropy (nats)",
    highest: float = 1 / np.e,
    heading: str = "uncertainty",
) -> None:
    """Draw one row per case: slice, every mask over it, uncertainty. Written as PNG and as PDF, both or none.

    Masks are filled and outlined. The uncertainty has a column where any row has one.

    Args:
        rows: at least one; their masks have the same columns.
        labels: name to label value, or to the values whose union is a region; the foreground only. Gives the
            legend.
        path: of the PNG.
        measure, highest: what the heatmap shows, and its largest possible value.
        heading: of its column.
    """
    has_heat = any(row.uncertainty is not None for row in rows)
    columns = ["slice", *rows[0].masks, *([heading] if has_heat else [])]
    around = 22 if has_heat else 8
    heights = [row.height for row in rows]
    width = min(max((WIDTH_MM - around) / len(columns), LEAST_MM), MOST_MM, HIGHEST_MM / sum(heights))
    headings = [wrapped(title, width) for title in columns]
    above = 4 * max(title.count("\n") + 1 for title in headings)
    figure = new_figure(
        max(width * len(columns) + around, 70), width * sum(heights) + above + 8, "compressed"
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False, height_ratios=heights)
    heat: Any = None
    for row, line in zip(rows, axes, strict=True):
        draw_slice(line[0], row.image, row.aspect)
        line[0].set_ylabel(wrapped(row.title, width * row.height), fontsize=7)
        for axis, title in zip(line[1:], row.masks, strict=False):
            _draw_mask(row, axis, title, labels)
        if row.uncertainty is not None:
            draw_slice(line[-1], row.image, row.aspect)
            heat = draw_heatmap(line[-1], row.uncertainty, highest, row.aspect)
        elif has_heat:
            _draw_nothing(row, line[-1])
    for axis, title in zip(axes[0], headings, strict=True):
        axis.set_title(title, fontsize=7, pad=3)
    if has_heat:
        figure.colorbar(heat, ax=axes[:, -1], shrink=0.8 / len(rows) ** 0.5, label=measure)
    patches = [Patch(color=c, label=spelled(name)) for name, (c, _) in looks_of(labels).items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6), frameon=False)
    save_figure(figure, path)


def _draw_mask(row: CaseRow, axis: Axes, title: str, labels: Structures) -> None:
    """The slice under a mask, with its Dice."""
    if (mask := row.masks[title]) is None:
        _draw_nothing(row, axis)
        return
    draw_slice(axis, row.image, row.aspect)
    axis.imshow(filled(mask, labels), aspect=row.aspect)
    for name, (color, line) in looks_of(labels).items():
        # Lighter than the fill, so that outlines are visible in gray, too.
        draw_contour(axis, structure_mask(mask, labels[name]), tinted(color), line, level=0.9, width=0.5)
    if title in row.dice:
        text = axis.text(0.03, 0.02, f"{row.dice[title]:.2f}", transform=axis.transAxes, fontsize=7)
        text.set(color="white", ha="left", va="bottom")
        text.set_path_effects([withStroke(linewidth=1.5, foreground="black")])


def _draw_nothing(row: CaseRow, axis: Axes) -> None:
    """A gray panel of the row's shape."""
    axis.imshow(np.full(row.image.shape, 0.8), cmap="gray", vmin=0, vmax=1, aspect=row.aspect)
    axis.set(xticks=[], yticks=[])
    axis.text(0.5, 0.5, "none", transform=axis.transAxes, fontsize=7, color="0.3", ha="center", va="center")
