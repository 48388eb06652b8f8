"""The picture of one predicted case: outlines, and where not to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..uncertainty.confidence import Structures, structure_mask
from .layers import draw_contour, draw_heatmap, draw_letters
from .style import looks_of, save_png, spelled


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
) -> None:
    """One case: the slice with the mask's contours, and beside it the same under its entropy. Written as PNG,
    whole or not at all.

    Arrays are (H, W) with the picture's first row at the top, as `orientation.View` gives them.

    Args:
        case: the title.
        image: intensities.
        mask: label map.
        entropy: 0 to `highest`; as opaque as `layers.opacity` states.
        spacing: mm between rows, and between columns.
        letters: of the patient's directions, at top, bottom, left and right.
        structures: name to label value, or to the values whose union is a region; gives the legend.
        measure, highest: what the map shows instead of entropy, and its largest possible value.
    """
    aspect = spacing[0] / spacing[1]
    height = float(np.clip(4.6 * image.shape[0] * aspect / image.shape[1], 2.0, 9.0))
    figure = Figure(figsize=(10.4, height + 1.1), dpi=150, layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    for axis in axes:
        low, high = np.percentile(image, (0.5, 99))
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        axis.set(xticks=[], yticks=[])
        draw_letters(axis, letters)
    heat = draw_heatmap(axes[1], entropy, highest, aspect)
    looks = looks_of(structures)
    for name, labels in structures.items():
        inside = structure_mask(mask, labels)
        # Just inside the structure, so that neighbours do not cover each other's outline.
        draw_contour(axes[0], inside, *looks[name], level=0.9, width=1.5)
        # Not every structure's colour is apart from the heatmap's; light blue is.
        draw_contour(axes[1], inside, "#56b4e9", "-", level=0.5, width=0.5)
    axes[0].set_title("mask", fontsize=10)
    axes[1].set_title("uncertainty (mask outlined in light blue)", fontsize=10)
    figure.suptitle(case, fontsize=11, parse_math=False)  # a "$" in a name is one
    figure.colorbar(heat, ax=axes[1], shrink=0.8, label=f"{measure}, 0 to {highest:.2g}")
    lines = [
        Line2D([], [], color=colour, linestyle=line, linewidth=2, label=spelled(name))
        for name, (colour, line) in looks.items()
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 6), frameon=False)
    save_png(figure, path)
