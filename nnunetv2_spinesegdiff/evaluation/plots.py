"""Pictures of segmentations. The one module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from ..files import written_whole
from .calibration import Reliability

COLOURS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#56b4e9")
"""Okabe and Ito's, apart for colour-blind eyes; the first three are the paper's: blue canal, green vertebrae,
red discs."""

LineStyle = Literal["-", "--", ":"]

SHOWN_FROM = 0.02
"""Entropy in nats below which a heatmap lets the slice through."""


@dataclass(frozen=True)
class CaseRow:
    """One case of `draw_cases`, every array (H, W) with the picture's first row at the top.

    Attributes:
        title: beside the row.
        image: intensities.
        masks: column title to label map, in the order of the columns.
        uncertainty: heatmap in nats, 0 to 1/e.
    """

    title: str
    image: np.ndarray
    masks: Mapping[str, np.ndarray]
    uncertainty: np.ndarray


def draw_cases(rows: Sequence[CaseRow], labels: Mapping[str, int], path: Path) -> None:
    """One row a case: slice, every mask over it, uncertainty. Written as PNG, whole or not at all.

    Args:
        rows: cases whose masks have the same columns.
        labels: class name to label value, the foreground only; gives the legend.
    """
    columns = ["slice", *rows[0].masks, "uncertainty"]
    figure = Figure(figsize=(2.1 * len(columns) + 1.0, 2.1 * len(rows) + 0.8), dpi=130, layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    heat: Any = None
    for row, line in zip(rows, axes, strict=True):
        for axis in line:
            axis.imshow(row.image, cmap="gray", vmin=0, vmax=np.percentile(row.image, 99.5))
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(row.title, fontsize=8)
        for axis, mask in zip(line[1:], row.masks.values(), strict=False):
            axis.imshow(_coloured(mask, labels))
        shown = np.ma.masked_less(row.uncertainty, SHOWN_FROM)
        heat = line[-1].imshow(shown, cmap="inferno", vmin=0, vmax=1 / np.e, alpha=0.85)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=10)
    figure.colorbar(heat, ax=axes[:, -1], shrink=0.8 / len(rows) ** 0.5, label="entropy (nats)")
    patches = [Patch(color=c, label=name.replace("_", " ")) for name, c in zip(labels, COLOURS, strict=False)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary)


def draw_overlay(
    case: str,
    image: np.ndarray,
    mask: np.ndarray,
    entropy: np.ndarray,
    spacing: tuple[float, float],
    letters: Sequence[str],
    structures: Mapping[str, int | tuple[int, ...]],
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
        entropy: 0 to `highest`; what is below `SHOWN_FROM` is left transparent.
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
        _draw_letters(axis, letters)
    shown = np.ma.masked_less(entropy, SHOWN_FROM)
    heat = axes[1].imshow(shown, cmap="inferno", vmin=0, vmax=highest, aspect=aspect, alpha=0.85)
    looks = _contour_looks(structures)
    for name, labels in structures.items():
        inside = np.isin(mask, labels)
        # Just inside the structure, so that neighbours do not cover each other's outline.
        _draw_contour(axes[0], inside, *looks[name], level=0.9, width=1.5)
        # Not every structure's colour is apart from the heatmap's; light blue is.
        _draw_contour(axes[1], inside, "#56b4e9", "-", level=0.5, width=0.5)
    axes[0].set_title("mask", fontsize=10)
    axes[1].set_title("uncertainty (mask outlined in light blue)", fontsize=10)
    figure.suptitle(case, fontsize=11)
    figure.colorbar(heat, ax=axes[1], shrink=0.8, label=f"{measure}, 0 to {highest:.2g}")
    lines = [
        Line2D([], [], color=colour, linestyle=line, linewidth=2, label=name.replace("_", " "))
        for name, (colour, line) in looks.items()
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 6), frameon=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary)


def _contour_looks(names: Iterable[str]) -> dict[str, tuple[str, LineStyle]]:
    """Colour and line style of each name, apart for as many as there are colours and styles."""
    lines: tuple[LineStyle, ...] = ("-", "--", ":")
    looks = ((colour, line) for line in cycle(lines) for colour in COLOURS)
    return dict(zip(names, looks, strict=False))


def _draw_contour(
    axis: Axes, inside: np.ndarray, colour: str, line: LineStyle, level: float, width: float
) -> None:
    """The outline of a bool array (H, W), closed where it meets the picture's edge.

    Args:
        level: where between the centres of the last pixel inside (1) and the first one outside (0).
        width: of the line, in points.
    """
    if not inside.any():
        return
    rows, columns = (np.arange(-1, size + 1) for size in inside.shape)
    view = axis.get_xlim(), axis.get_ylim()
    padded = np.pad(inside.astype(float), 1)
    axis.contour(columns, rows, padded, [level], colors=[colour], linestyles=[line], linewidths=width)
    axis.set(xlim=view[0], ylim=view[1])


def _draw_letters(axis: Axes, letters: Sequence[str]) -> None:
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


def _coloured(mask: np.ndarray, labels: Mapping[str, int], alpha: float = 0.55) -> np.ndarray:
    """Label map (H, W) to RGBA (H, W, 4), transparent where no label is."""
    picture = np.zeros((*mask.shape, 4))
    for value, colour in zip(labels.values(), COLOURS, strict=False):
        rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        picture[mask == value] = [*rgb, alpha]
    return picture


def draw_reliability(diagrams: Mapping[str, Reliability], path: Path) -> None:
    """Accuracy over confidence, a curve a system, and a histogram of confidences beneath. Written as PNG,
    whole or not at all.

    Args:
        diagrams: system name to its diagram, at most six. The legend gives the expected calibration
            error (ECE).
    """
    figure = Figure(figsize=(4.4, 6.1), dpi=150, layout="compressed")
    FigureCanvasAgg(figure)
    curves, histogram = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    curves.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="right as often as confident")
    looks = zip(COLOURS, "osD^vP", ("-", "--", "-.") * 2, strict=True)
    for (name, diagram), (colour, marker, line) in zip(diagrams.items(), looks, strict=False):
        label = f"{name} (ECE {diagram.expected_calibration_error:.3f})"
        filled = diagram.count > 0
        confidence, accuracy = diagram.mean_confidence[filled], diagram.accuracy[filled]
        curves.plot(confidence, accuracy, line, color=colour, marker=marker, ms=5, label=label, clip_on=False)
        share = diagram.count / max(diagram.count.sum(), 1)
        histogram.stairs(share, diagram.edges, color=colour, linestyle=line, linewidth=1.5)
    curves.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel="accuracy")
    curves.grid(color="0.9")
    histogram.set(ylim=(1e-5, 2), yscale="log", xlabel="confidence", ylabel="share of pixels")
    figure.legend(loc="outside upper left", fontsize=9, frameon=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary)
