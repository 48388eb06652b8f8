"""The reliability diagram, as matplotlib was given it."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import StepPatch

from nnunetv2_spinesegdiff.plots.reliability import draw_reliability
from nnunetv2_spinesegdiff.uncertainty.temperature import Reliability, reliability


def diagram(accuracy: float) -> Reliability:
    """Predictions of all confidences above 0.5, a share of them right."""
    confidence = np.linspace(0.5, 1, 1000)
    return reliability(confidence, np.arange(1000) % 100 < 100 * accuracy, bins=10)


def test_the_curves_are_the_diagrams_and_the_legend_has_the_errors(drawn, tmp_path):
    systems = {"stage 1": diagram(0.6), "refined": diagram(0.8)}
    figure = drawn(draw_reliability, systems)
    curves, histogram = figure.axes
    identity, *lines = curves.lines
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    for line, system in zip(lines, systems.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), system.mean_confidence[-6:])
        np.testing.assert_array_equal(line.get_ydata(), system.accuracy[-6:])
    for look in ("color", "marker", "linestyle"):
        assert len({getattr(line, f"get_{look}")() for line in lines}) == 2
    shares = [patch.get_data()[0] for patch in histogram.patches if isinstance(patch, StepPatch)]
    np.testing.assert_allclose(shares, [system.count / 1000 for system in systems.values()])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    errors = [system.expected_calibration_error for system in systems.values()]
    assert texts[1:] == [f"stage 1 (ECE {errors[0]:.3f})", f"refined (ECE {errors[1]:.3f})"]
    draw_reliability({"none": reliability(np.zeros(0), np.zeros(0))}, tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 0
