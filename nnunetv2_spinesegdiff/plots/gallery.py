"""A case in small: its slice under the outlines of a label or mask, or under a heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ..uncertainty.confidence import Structures
from . import layers
from .layers import LIGHT_BLUE, draw_letters, draw_outlines, draw_slice

SIZE = 320
"""Pixels of a picture's longer side."""
DPI = 100
QUALITY = 75
"""Of the JPEG, without color subsampling: outlines stay sharp, and a scan takes about 15 kB."""
HIGHEST = 1 / np.e


@dataclass(frozen=True)
class Drawing:
    """A JPEG and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def draw_mask(
    image: np.ndarray,
    mask: np.ndarray,
    spacing: tuple[float, float],
    structures: Structures,
    *,
    label: np.ndarray | None = None,
    letters: Sequence[str] = ("", "", "", ""),
) -> Drawing:
    """The slice with a mask's outlines in the structures' colors.

    Arrays are (H, W) with the picture's first row at the top, as `orientation.View` gives them.

    Args:
        image: intensities.
        mask: label map.
        spacing: mm between rows, and between columns.
        structures: name to label value, or to the values whose union is a region.
        label: label map that is outlined thinly in white beneath the mask.
        letters: of the patient's directions, at top, bottom, left and right.
    """
    figure, axis = _slice(image, spacing)
    if label is not None:
        draw_outlines(axis, label, structures, 0.5, "white")
    draw_outlines(axis, mask, structures, 1.2)
    draw_letters(axis, letters)
    return _drawing(figure)


def draw_heatmap(
    image: np.ndarray,
    heatmap: np.ndarray,
    mask: np.ndarray,
    spacing: tuple[float, float],
    structures: Structures,
) -> Drawing:
    """The slice under its heatmap (0 to 1/e), the mask outlined thinly in light blue.

    The other arguments are those of `draw_mask`.
    """
    figure, axis = _slice(image, spacing)
    layers.draw_heatmap(axis, heatmap, HIGHEST, "auto")
    draw_outlines(axis, mask, structures, 0.5, LIGHT_BLUE)
    return _drawing(figure)


def heat_colors(values: Sequence[float]) -> list[str]:
    """The colors (#rrggbb) of heatmaps for values from 0 to 1/e."""
    return [to_hex(matplotlib.colormaps["inferno"](value / HIGHEST)) for value in values]


def _slice(image: np.ndarray, spacing: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure that is nothing but the slice, with the same scale down as across."""
    size = np.array([image.shape[1] * spacing[1], image.shape[0] * spacing[0]])
    width, height = np.maximum(np.rint(size * SIZE / size.max()), 1)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)  # no millimeters, which would be rounded
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    draw_slice(axis, image, "auto")
    return figure, axis


def _drawing(figure: Figure) -> Drawing:
    made = BytesIO()
    figure.savefig(made, format="jpeg", pil_kwargs={"quality": QUALITY, "subsampling": 0, "optimize": True})
    width, height = np.rint(figure.get_size_inches() * DPI).astype(int).tolist()
    return Drawing(made.getvalue(), width, height)
