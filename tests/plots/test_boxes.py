"""A box and its points, against NumPy's quartiles."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunetv2_spinesegdiff.plots.boxes import draw_box, jitter

VALUES = np.array([0.2, 0.7, 0.75, 0.8, 0.82, 0.9, 0.95])


def axis() -> Axes:
    return Figure().subplots()


def test_box_whiskers_and_mean_are_those_of_the_values():
    ax = axis()
    draw_box(ax, VALUES, 3, "#0072b2", mean=True)
    low, median, high = np.percentile(VALUES, (25, 50, 75))
    (box,) = ax.patches
    ends = np.asarray(box.get_path().vertices)[:, 1]
    assert (ends.min(), ends.max()) == pytest.approx((low, high))
    drawn = [np.unique(line.get_ydata()).tolist() for line in ax.lines]
    assert [pytest.approx(median)] in drawn
    assert [pytest.approx(VALUES.mean())] in drawn
    inside = VALUES[(low - 1.5 * (high - low) <= VALUES) & (high + 1.5 * (high - low) >= VALUES)]
    assert [pytest.approx(inside.min())] in drawn
    assert [0.2] in drawn, "outlier"


def test_every_value_is_a_point_over_its_box():
    for orientation in ("vertical", "horizontal"):
        ax = axis()
        draw_box(ax, VALUES, 2, "#0072b2", width=0.5, marker="o", orientation=orientation)
        (points,) = ax.collections
        offsets = np.asarray(points.get_offsets())
        across, along = offsets.T if orientation == "vertical" else offsets.T[::-1]
        np.testing.assert_allclose(np.sort(along), VALUES)
        assert np.abs(across - 2).max() <= 0.25
        assert len(ax.lines) == 5, "two whiskers, two caps, the median, and no outlier twice"
    ax = axis()
    draw_box(ax, np.zeros(0), 0, "#0072b2", marker="o")
    assert not [*ax.patches, *ax.lines, *ax.collections]
    offsets = jitter(200, 2)
    assert np.abs(offsets).max() <= 1
    assert (np.abs(np.diff(offsets)) > 0.5).all(), "neighbors are apart"
