"""Style of all figures: colors, sizes in print, and writing to files."""

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

COLORS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#56b4e9")
"""Okabe and Ito's, which color-blind people can distinguish; the first three are the paper's: blue canal,
green vertebrae, red discs."""
MARKERS = ("o", "s", "^", "D", "v", "P")

LineStyle = Literal["-", "--", ":"]
Layout = Literal["constrained", "compressed"]
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


def new_figure(width_mm: float, height_mm: float, layout: Layout | None = None, dpi: int = DPI) -> Figure:
    """Create an empty figure without pyplot."""
    figure = Figure(figsize=(width_mm * _MM, height_mm * _MM), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; the figure is empty afterwards."""
    # `savefig` draws everything twice to lay it out.
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
    with written_whole(path) as temporary:
        # Half the seconds of zlib's usual level 6, and 5 % more bytes.
        FigureCanvasAgg(figure).print_png(temporary, pil_kwargs={"compress_level": 4})
    give_back_memory(figure)


def give_back_memory(figure: Figure) -> None:
    """Empty a figure that has been written.

    Figures and their parts refer to each other: those of many scans would stay in memory until the garbage
    collector runs.
    """
    figure.clear()
    vars(figure.canvas).pop("renderer", None)  # and with it the picture's pixels


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and as PDF with its fonts: both, whole, or none.

    Args:
        path: of the PNG.
    """
    with written_whole(path) as png, written_whole(path.with_suffix(".pdf")) as pdf:
        figure.savefig(png)
        # The same figure always gives the same file.
        figure.savefig(pdf, metadata={"CreationDate": None})


def looks_of(names: Iterable[str]) -> dict[str, tuple[str, LineStyle]]:
    """Color and line style of each name, repeated only after all combinations."""
    looks = ((color, line) for line in cycle(LINES) for color in COLORS)
    return dict(zip(names, looks, strict=False))


def draw_grid(axis: Axes, which: Literal["both", "x", "y"] = "both") -> None:
    """Draw thin gray lines behind everything else."""
    axis.grid(axis=which, color="0.9", linewidth=0.5)
    axis.set_axisbelow(True)


def wrapped(text: str, width_mm: float) -> str:
    """Text of 7 points in lines of about `width_mm`."""
    return textwrap.fill(text, max(int(width_mm / _LETTER_MM), 6))


def panels(figure: Figure, number: int, most_columns: int, **options: Any) -> list[Axes]:
    """Create that many axes, row by row; the rest of the last row stays empty."""
    columns = min(number, most_columns)
    rows = -(-number // columns)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for unused in axes[number:]:
        unused.remove()
    return axes[:number]
