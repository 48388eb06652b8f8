"""What all drawings share: colours, sizes in print, and how a figure becomes files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import written_whole

COLOURS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#56b4e9")
"""Okabe and Ito's, apart for colour-blind eyes; the first three are the paper's: blue canal, green vertebrae,
red discs."""
MARKERS = ("o", "s", "^", "D", "v", "P")

LineStyle = Literal["-", "--", ":"]
LINES: tuple[LineStyle, ...] = ("-", "--", ":")

WIDTH_MM = 170
"""Of a figure in print, between the margins of an A4 page."""
DPI = 200

IN_PRINT: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # TrueType: the text in a PDF can be searched and edited
}
"""matplotlib's settings for a figure `WIDTH_MM` wide: no text below 7 points."""

_MM = 1 / 25.4
_LETTER_MM = 1.45  # of 7 points, on average


def new_figure(width_mm: float, height_mm: float, layout: Literal["constrained", "compressed"]) -> Figure:
    """An empty figure that pyplot knows nothing of."""
    figure = Figure(figsize=(width_mm * _MM, height_mm * _MM), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; the figure is empty afterwards."""
    with written_whole(path) as temporary:
        figure.savefig(temporary)
    give_back_memory(figure)


def give_back_memory(figure: Figure) -> None:
    """Empty a figure that has been written.

    Figures and what they hold refer to each other: uncleared, those of many scans pile up in memory until the
    garbage collector gets round to them.
    """
    figure.clear()
    vars(figure.canvas).pop("renderer", None)  # and with it the picture's pixels


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and beside it as PDF with its fonts: both, whole, or none.

    Args:
        path: ends in `.png`.

    Raises:
        ValueError: it does not.
    """
    if path.suffix != ".png":
        raise ValueError(f"{path}: expected a name that ends in .png")
    with written_whole(path) as png, written_whole(path.with_suffix(".pdf")) as pdf:
        figure.savefig(png)
        # The same figure is the same file, whenever it is drawn.
        figure.savefig(pdf, metadata={"CreationDate": None})


def looks_of(names: Iterable[str]) -> dict[str, tuple[str, LineStyle]]:
    """Colour and line style of each name, apart for as many as there are colours and styles."""
    looks = ((colour, line) for line in cycle(LINES) for colour in COLOURS)
    return dict(zip(names, looks, strict=False))


def spelled(name: str) -> str:
    """A structure's name as it is read: "spinal_canal" without its underscore."""
    return name.replace("_", " ")


def wrapped(text: str, width_mm: float) -> str:
    """Text of 7 points in lines of about `width_mm`."""
    return textwrap.fill(text, max(int(width_mm / _LETTER_MM), 6))


def panels(figure: Figure, number: int, most_columns: int, **options: Any) -> list[Axes]:
    """That many axes, row by row; what is left of the last row stays empty."""
    columns = min(number, most_columns)
    rows = -(-number // columns)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for unused in axes[number:]:
        unused.remove()
    return axes[:number]
