"""One box of a box plot, with its points."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes

GOLDEN = (5**0.5 - 1) / 2

Orientation = Literal["vertical", "horizontal"]


def draw_box(
    axis: Axes,
    values: np.ndarray,
    position: float,
    color: str,
    *,
    hatch: str = "",
    width: float = 0.6,
    orientation: Orientation = "vertical",
    marker: str = "",
    mean: bool = False,
) -> None:
    """Quartiles and median, whiskers to the furthest value within 1.5 box lengths.

    Args:
        values: (n,), finite; without any nothing is drawn.
        position: of the box along the other axis.
        hatch: of its fill, so that boxes are apart without colors, too.
        marker: of the points, one a value, spread over the box; without it only outliers are drawn.
        mean: whether a white diamond shows it.
    """
    if len(values) == 0:
        return
    line = {"linewidth": 0.8, "color": "black"}
    axis.boxplot(
        [values],
        positions=[position],
        widths=width,
        orientation=orientation,
        patch_artist=True,
        showfliers=not marker,
        showmeans=mean,
        manage_ticks=False,
        boxprops={"facecolor": color, "hatch": hatch, "linewidth": 0.8, "alpha": 0.75},
        medianprops={**line, "linewidth": 1.6},
        whiskerprops=line,
        capprops=line,
        flierprops={"marker": ".", "markersize": 2.5, "markeredgecolor": "0.3"},
        meanprops={
            "marker": "D",
            "markersize": 3,
            "markerfacecolor": "white",
            "markeredgecolor": "black",
            "markeredgewidth": 0.7,
        },
    )
    if marker:
        ordered = np.sort(values)
        across = position + jitter(len(ordered), 0.8 * width)
        x, y = (across, ordered) if orientation == "vertical" else (ordered, across)
        axis.scatter(x, y, s=5, marker=marker, color="0.15", alpha=0.5, linewidths=0, zorder=3)


def jitter(number: int, width: float) -> np.ndarray:
    """Offsets (number,) within half a `width` to either side, neighbors far apart, always the same.

    The golden ratio's multiples modulo one fill an interval evenly however many are taken.
    """
    return (np.arange(1, number + 1) * GOLDEN % 1 - 0.5) * width
