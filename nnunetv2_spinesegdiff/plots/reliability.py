"""Reliability diagrams: how often pixels of each confidence are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..uncertainty.temperature import Reliability
from .style import COLORS, new_figure, save_png


def draw_reliability(diagrams: Mapping[str, Reliability], path: Path) -> None:
    """Draw accuracy over confidence, one curve per system, and a histogram of confidences. Written as PNG,
    whole or not at all.

    Args:
        diagrams: system name to its diagram, at most six. The legend gives the expected calibration
            error (ECE).
    """
    figure = new_figure(112, 155, "compressed", dpi=150)
    curves, histogram = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    curves.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect calibration")
    looks = zip(COLORS, "osD^vP", ("-", "--", "-.") * 2, strict=True)
    for (name, diagram), (color, marker, line) in zip(diagrams.items(), looks, strict=False):
        label = f"{name} (ECE {diagram.expected_calibration_error:.3f})"
        filled = diagram.count > 0
        confidence, accuracy = diagram.mean_confidence[filled], diagram.accuracy[filled]
        curves.plot(confidence, accuracy, line, color=color, marker=marker, ms=5, label=label, clip_on=False)
        share = diagram.count / max(diagram.count.sum(), 1)
        histogram.stairs(share, diagram.edges, color=color, linestyle=line, linewidth=1.5)
    curves.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel="accuracy")
    curves.grid(color="0.9")
    histogram.set(ylim=(1e-5, 2), yscale="log", xlabel="confidence", ylabel="share of pixels")
    figure.legend(loc="outside upper left", fontsize=9, frameon=False)
    save_png(figure, path)
