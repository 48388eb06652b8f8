"""The line along the spine, against curves whose length and middle are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import savgol_filter
from scipy.stats import theilslopes

from nnunetv2_spinesegdiff.segmentation.measuring.course import _smoothed, course_of_canal, course_of_discs
from nnunetv2_spinesegdiff.segmentation.measuring.shapes import Shape, _line

MM = (1.0, 1.0)
RADIUS = 150.0


def arc(gap: bool = False) -> np.ndarray:
    """A canal 14 mm deep, bent about a point 150 mm behind its middle, as in the lumbar spine."""
    rows, columns = np.mgrid[0:260, 0:220].astype(float)
    radius = np.hypot(rows - 130, columns - 100 - RADIUS)
    canal = (np.abs(radius - RADIUS) < 7) & (np.abs(rows - 130) < 100) & (columns < 100 + RADIUS)
    if gap:
        canal[120:132] = False
    return canal


@pytest.mark.parametrize("gap", [False, True])
def test_the_course_of_a_bent_canal_is_its_middle(gap):
    course = course_of_canal(arc(gap), MM)
    assert course is not None
    inner = course.points[np.abs(course.points[:, 0] - 130) < 90]
    radii = np.hypot(inner[:, 0] - 130, inner[:, 1] - 100 - RADIUS)
    assert np.abs(radii - RADIUS).max() < 1.5
    assert np.linalg.norm(np.diff(course.points, axis=0), axis=1) == pytest.approx(1, abs=0.02)


def test_places_are_told_along_the_course_and_in_front_of_it():
    course = course_of_canal(arc(), MM)
    assert course is not None
    # Points so many degrees above the middle, and so far in front of the canal's middle or behind it.
    degrees, ahead = np.array([-30.0, -10.0, 0.0, 20.0, 30.0]), np.array([25.0, -30.0, 10.0, 25.0, -5.0])
    angles, radii = np.radians(degrees), RADIUS + ahead
    points = np.stack([130 - radii * np.sin(angles), 100 + RADIUS - radii * np.cos(angles)], axis=1)
    along, front = course.locate(points)
    assert front == pytest.approx(ahead, abs=1.5)
    assert np.diff(along) == pytest.approx(np.diff(angles) * RADIUS, abs=2.5)


def test_too_short_a_canal_has_no_course():
    canal = np.zeros((100, 100), dtype=bool)
    assert course_of_canal(canal, MM) is None
    canal[20:45, 40:54] = True
    assert course_of_canal(canal, MM) is None
    canal[20:55, 40:54] = True
    assert course_of_canal(canal, MM) is not None


def test_discs_have_a_course_behind_them_square_to_the_outermost():
    assert course_of_discs([]) is None
    discs = []
    for row in (40, 75, 110):
        inside = np.zeros((150, 150), dtype=bool)
        inside[row : row + 8, 40:74] = True
        discs.append(Shape(inside, MM))
    course = course_of_discs(discs)
    assert course is not None
    # Three quarters of 34 mm behind the middle, from head to foot.
    assert course.points[:, 1] == pytest.approx(56.5 + 0.75 * 34, abs=0.1)
    assert np.diff(course.points[:, 0]).min() > 0


@given(count=st.integers(3, 150), window=st.integers(3, 80), seed=st.integers(0, 99))
def test_smoothing_is_that_of_scipy(count, window, seed):
    values = np.random.default_rng(seed).normal(size=count).cumsum()
    odd = min(window, count) // 2 * 2 - 1
    expected = savgol_filter(values, odd, 2) if odd > 2 else values
    assert _smoothed(values, window) == pytest.approx(expected, abs=1e-9)


@given(count=st.integers(2, 60), seed=st.integers(0, 99))
def test_lines_through_most_points_are_those_of_scipy(count, seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.choice(200, count, replace=False)) / 2
    y = rng.normal(size=count) + 0.3 * x
    assert _line(x, y) == tuple(theilslopes(y, x)[:2])
