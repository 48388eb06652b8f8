"""A slice, and fills, outlines and heatmaps over it. Arrays are (H, W), the first row at the top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patheffects import withStroke

from ..uncertainty.confidence import Structures, structure_mask
from .style import LineStyle, looks_of

LIGHT_BLUE = "#56b4e9"
"""Not a color of the heatmap."""
FILL = 0.55
"""Opacity of the fill."""
_TEXT_GAP_MM, _FRONT_MM, _LEAST_NAMED_MM2 = 4.0, 12.0, 50.0
SHOWN_FROM, OPAQUE_FROM = 0.02, 0.1
"""Entropy in nats (or variance) below which a heatmap is transparent, and from which it is opaque."""


@dataclass(frozen=True)
class NamedParts:
    """Parts of a slice with names.

    Attributes:
        numbers: (H, W) int, of the parts.
        names: of the numbers.
        title: what they are.
    """

    numbers: np.ndarray
    names: Mapping[int, str]
    title: str


def draw_slice(axis: Axes, image: np.ndarray, aspect: float | Literal["auto"]) -> None:
    """The intensities in gray, from their 0.5th to their 99th percentile.

    Args:
        aspect: mm between rows over mm between columns.
    """
    low, high = np.percentile(image, (0.5, 99))
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation_stage="data")
    axis.set(xticks=[], yticks=[])


def filled(mask: np.ndarray, structures: Structures) -> np.ndarray:
    """Label map (H, W) to RGBA (H, W, 4), transparent outside; of two structures the later is seen."""
    picture = np.zeros((*mask.shape, 4))
    for name, (color, _) in looks_of(structures).items():
        picture[structure_mask(mask, structures[name])] = [*to_rgb(color), FILL]
    return picture


def tinted(color: str) -> str:
    """A color half way to white."""
    red, green, blue = ((1 + part) / 2 for part in to_rgb(color))
    return to_hex((red, green, blue))


def draw_heatmap(axis: Axes, uncertainty: np.ndarray, highest: float, aspect: float | Literal["auto"]) -> Any:
    """The heatmap over what is drawn there, transparent below `SHOWN_FROM`, nearly opaque from `OPAQUE_FROM`.

    The opacity rises linearly in between: a step would show noise as dots.

    Args:
        uncertainty: 0 to `highest`.
        aspect: mm between rows over mm between columns.

    Returns:
        What a color bar is made of.
    """
    alpha = 0.85 * np.clip((uncertainty - SHOWN_FROM) / (OPAQUE_FROM - SHOWN_FROM), 0, 1)
    return axis.imshow(
        uncertainty,
        cmap="inferno",
        vmin=0,
        vmax=highest,
        aspect=aspect,
        alpha=alpha,
        interpolation_stage="data",
    )


def draw_outlines(
    axis: Axes, mask: np.ndarray, structures: Structures, width: float, color: str | None = None
) -> None:
    """The outline of every structure of a label map.

    Args:
        width: of the lines, in points.
        color: of lines on the edge of the structures; None for their own colors and line styles, just inside
            the structures, so that neighbors do not cover each other's outline.
    """
    for name, (own, line) in looks_of(structures).items():
        inside = structure_mask(mask, structures[name])
        if color is None:
            draw_contour(axis, inside, own, line, level=0.9, width=width)
        else:
            draw_contour(axis, inside, color, "-", level=0.5, width=width)


def draw_contour(
    axis: Axes, inside: np.ndarray, color: str, line: LineStyle, level: float, width: float
) -> None:
    """The outline of a bool array (H, W), closed where it meets the picture's edge.

    Args:
        level: position between the centers of the last pixel inside (1) and the first one outside (0).
        width: of the line, in points.
    """
    # With less memory than `Axes.contour`, which keeps three arrays of the size of the picture.
    contours: Any = contour_generator(z=np.pad(inside.astype(float), 1)).lines(level)
    lines = [points - 1 for points in contours]
    outline = LineCollection(lines, colors=color, linestyles=line, linewidths=width)
    axis.add_collection(outline, autolim=False)


def draw_letters(axis: Axes, letters: Sequence[str]) -> None:
    """The patient's directions at top, bottom, left and right of a slice."""
    places: list[tuple[float, float, Any, Any]] = [
        (0.5, 0.985, "center", "top"),
        (0.5, 0.015, "center", "bottom"),
        (0.015, 0.5, "left", "center"),
        (0.985, 0.5, "right", "center"),
    ]
    for letter, (x, y, horizontal, vertical) in zip(letters, places, strict=True):
        text = axis.text(x, y, letter, transform=axis.transAxes, ha=horizontal, va=vertical)
        text.set(color="white", fontsize=12, fontweight="bold")
        text.set_path_effects([withStroke(linewidth=2.5, foreground="black")])


def draw_names(axis: Axes, parts: NamedParts, spacing: tuple[float, float]) -> None:
    """The names of parts in front of them, which is to the left; none of parts below 50 mm².

    Args:
        spacing: mm between rows, and between columns.
    """
    for number, name in parts.names.items():
        rows, columns = np.nonzero(parts.numbers == number)
        if len(rows) * spacing[0] * spacing[1] < _LEAST_NAMED_MM2:
            continue
        front = columns.min()
        row = rows[columns <= front + _FRONT_MM / spacing[1]].mean()
        text = axis.text(front - _TEXT_GAP_MM / spacing[1], row, name, ha="right", va="center")
        text.set(color="white", fontsize=8, in_layout=False)
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])
