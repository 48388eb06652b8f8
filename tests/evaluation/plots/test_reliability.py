"""The reliability diagram, read back as pixels and as what matplotlib was given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import StepPatch

from nnunetv2_spinesegdiff.plots import COLOURS, draw_reliability, style
from nnunetv2_spinesegdiff.uncertainty.temperature import Reliability, reliability


def diagram(accuracy: float) -> Reliability:
    """Predictions of all confidences above 0.5, a share of them right."""
    confidence = np.linspace(0.5, 1, 1000)
    return reliability(confidence, np.arange(1000) % 100 < 100 * accuracy, bins=10)


def share_of(picture: np.ndarray, colour: str) -> float:
    return float((np.abs(picture[..., :3] - np.array(to_rgb(colour))).max(-1) < 0.02).mean())


def test_every_system_is_drawn_in_a_colour_of_its_own(tmp_path):
    draw_reliability({"stage 1": diagram(0.6), "refined": diagram(0.8)}, tmp_path / "two.png")
    picture = imread(tmp_path / "two.png")
    assert share_of(picture, COLOURS[0]) > 0.001
    assert share_of(picture, COLOURS[1]) > 0.001
    assert share_of(picture, COLOURS[2]) == 0


def test_the_curves_are_the_diagrams_and_the_legend_has_the_errors(tmp_path, monkeypatch):
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: figures.append(figure))
    monkeypatch.setattr(style, "give_back_memory", lambda figure: None)
    systems = {"stage 1": diagram(0.6), "refined": diagram(0.8)}
    draw_reliability(systems, tmp_path / "two.png")
    curves, histogram = figures[0].axes
    identity, *lines = curves.lines
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    for line, drawn in zip(lines, systems.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), drawn.mean_confidence[-6:])
        np.testing.assert_array_equal(line.get_ydata(), drawn.accuracy[-6:])
    assert len({line.get_marker() for line in lines}) == 2
    assert len({line.get_linestyle() for line in lines}) == 2
    shares = [patch.get_data()[0] for patch in histogram.patches if isinstance(patch, StepPatch)]
    np.testing.assert_allclose(shares, [drawn.count / 1000 for drawn in systems.values()])
    texts = [text.get_text() for text in figures[0].legends[0].get_texts()]
    errors = [drawn.expected_calibration_error for drawn in systems.values()]
    assert texts[1:] == [f"stage 1 (ECE {errors[0]:.3f})", f"refined (ECE {errors[1]:.3f})"]


def test_a_system_without_predictions_hinders_no_picture(tmp_path):
    draw_reliability({"none": reliability(np.zeros(0), np.zeros(0))}, tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 0


def test_a_picture_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_reliability({"stage 1": diagram(0.6)}, tmp_path / "one.png")
    assert not list(tmp_path.iterdir())
