"""The picture of one predicted case: outlines, and where not to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D

from ..text import spelled
from ..uncertainty.confidence import Structures
from .layers import (
    LIGHT_BLUE,
    NamedParts,
    draw_heatmap,
    draw_letters,
    draw_names,
    draw_outlines,
    draw_slice,
)
from .style import looks_of, new_figure, save_png


def draw_overlay(
    case: str,
    image: np.ndarray,
    mask: np.ndarray,
    entropy: np.ndarray,
    spacing: tuple[float, float],
    letters: Sequence[str],
    structures: Structures,
    path: Path,
    *,
    measure: str = "entropy (nats)",
    highest: float = 1 / np.e,
    levels: NamedParts | None = None,
) -> None:
    """Draw one case: the slice with the mask's contours, and again under its entropy. Writes a PNG, whole or
    not at all.

    Arrays are (H, W) with the picture's first row at the top, as `orientation.View` gives them.

    Args:
        case: the title.
        image: intensities.
        mask: label map.
        entropy: 0 to `highest`.
        spacing: mm between rows, and between columns.
        letters: of the patient's directions, at top, bottom, left and right.
        structures: name to label value, or to the values whose union is a region; gives the legend.
        measure, highest: what the map shows instead of entropy, and its largest possible value.
        levels: parts whose names are drawn next to the mask.
    """
    aspect = spacing[0] / spacing[1]
    height = float(np.clip(4.6 * image.shape[0] * aspect / image.shape[1], 2.0, 9.0))
    figure = new_figure(264, 25.4 * (height + 1.1), "compressed", dpi=150)
    axes = figure.subplots(1, 2)
    for axis in axes:
        draw_slice(axis, image, aspect)
        draw_letters(axis, letters)
    heat = draw_heatmap(axes[1], entropy, highest, aspect)
    draw_outlines(axes[0], mask, structures, 1.5)
    draw_outlines(axes[1], mask, structures, 0.5, LIGHT_BLUE)
    axes[0].set_title("mask", fontsize=10)
    if levels is not None:
        draw_names(axes[0], levels, spacing)
        axes[0].set_title(f"mask and {levels.title}", fontsize=10)
    axes[1].set_title("uncertainty (mask outlined in light blue)", fontsize=10)
    figure.suptitle(case, fontsize=11, parse_math=False)  # a "$" in a name is one
    figure.colorbar(heat, ax=axes[1], shrink=0.8, label=f"{measure}, 0 to {highest:.2g}")
    lines = [
        Line2D([], [], color=color, linestyle=line, linewidth=2, label=spelled(name))
        for name, (color, line) in looks_of(structures).items()
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 6), frameon=False)
    save_png(figure, path)
