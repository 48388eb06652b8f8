"""A case in small: its slice once with the label, once with every system's mask, once under every heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import shorten

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from .confidence import Structures
from .plots import SHOWN_FROM, _contour_looks, _draw_contour, _draw_letters

DPI = 100
PANEL = 320
"""Pixels of a panel's longer side."""
HEADING = 18
GAP = 4
ROW = 5
"""Panels side by side; more go into a second row."""
QUALITY = 80
"""Of the JPEG, without colour subsampling: outlines stay crisp, and a panel takes about 20 kB."""
HIGHEST = 1 / np.e


@dataclass(frozen=True)
class Panel:
    """One view of the slice, every array (H, W) with the picture's first row at the top.

    Attributes:
        title: above it.
        mask: label map, outlined in the structures' colours, or thinly in light blue on a heatmap.
        label: label map outlined thinly in white beneath the mask, or None.
        heatmap: 0 to 1/e, or None.
    """

    title: str
    mask: np.ndarray
    label: np.ndarray | None = None
    heatmap: np.ndarray | None = None


@dataclass(frozen=True)
class Drawing:
    """A JPEG and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def draw_panels(
    image: np.ndarray,
    panels: Sequence[Panel],
    spacing: tuple[float, float],
    letters: Sequence[str],
    structures: Structures,
) -> Drawing:
    """All panels of a case in one picture, `ROW` of them side by side.

    Args:
        image: intensities (H, W), shown from their 0.5th to their 99th percentile.
        panels: one or more.
        spacing: mm between rows, and between columns.
        letters: of the patient's directions, at top, bottom, left and right of the first panel.
        structures: name to label value, or to the values whose union is a region.
    """
    size = np.array([image.shape[1] * spacing[1], image.shape[0] * spacing[0]])
    width, height = np.maximum(np.rint(size * PANEL / size.max()), 1).astype(int).tolist()
    columns = min(len(panels), ROW)
    rows = -(-len(panels) // columns)
    whole = (columns * (width + GAP) - GAP, rows * (height + HEADING))
    figure = Figure(figsize=(whole[0] / DPI, whole[1] / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        left, top = column * (width + GAP), row * (height + HEADING) + HEADING
        place = (left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1])
        axis = figure.add_axes(place)
        _draw_panel(axis, image, panel, structures)
        # A name is no formula, even with dollar signs.
        axis.set_title(_fitting(panel.title, width), fontsize=8, pad=3, parse_math=False)
        if number == 0:
            _draw_letters(axis, letters)
    made = BytesIO()
    figure.savefig(made, format="jpeg", pil_kwargs={"quality": QUALITY, "subsampling": 0, "optimize": True})
    return Drawing(made.getvalue(), *whole)


def structure_looks(structures: Structures) -> dict[str, tuple[str, str]]:
    """Colour (#rrggbb) and line ("-", "--" or ":") of every structure's outline."""
    return dict(_contour_looks(structures))


def heat_colours(values: Sequence[float]) -> list[str]:
    """The colours (#rrggbb) that heatmaps give to values from 0 to 1/e."""
    return [to_hex(matplotlib.colormaps["inferno"](value / HIGHEST)) for value in values]


def _draw_panel(axis: Axes, image: np.ndarray, panel: Panel, structures: Structures) -> None:
    low, high = np.percentile(image, (0.5, 99))
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect="auto")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if panel.heatmap is not None:
        shown = np.ma.masked_less(panel.heatmap, SHOWN_FROM)
        axis.imshow(shown, cmap="inferno", vmin=0, vmax=HIGHEST, aspect="auto", alpha=0.85)
    for name, (colour, line) in _contour_looks(structures).items():
        labels = structures[name]
        if panel.label is not None:
            _draw_contour(axis, np.isin(panel.label, labels), "white", "-", level=0.5, width=0.5)
        inside = np.isin(panel.mask, labels)
        if panel.heatmap is None:
            # Just inside the structure, so that neighbours do not cover each other's outline.
            _draw_contour(axis, inside, colour, line, level=0.9, width=1.2)
        else:
            _draw_contour(axis, inside, "#56b4e9", "-", level=0.5, width=0.5)


def _fitting(title: str, width: int) -> str:
    """As much of the title as a panel of so many pixels has room for."""
    room = max(width // 6, 6)
    return title if len(title) <= room else shorten(title, room, placeholder=" …") or title[: room - 1] + "…"
