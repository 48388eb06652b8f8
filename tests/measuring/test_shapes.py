"""Frames and profiles of single parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.measuring.shapes import Frame, Profile, Shape, central, fit_frame

UP = np.array([-1.0, 0.0])


def bar(angle: float, height: float = 8.0, length: float = 34.0) -> Shape:
    """A rectangle, turned by so many degrees: its back up for positive ones."""
    rows, columns = np.mgrid[0:120, 0:120].astype(float) - 60
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    back, up = cos * columns - sin * rows, -sin * columns - cos * rows
    return Shape((np.abs(back) < length / 2) & (np.abs(up) < height / 2), (1.0, 1.0))


@settings(max_examples=30)
@given(angle=st.floats(-40, 40), height=st.floats(3, 14))
def test_the_frame_of_a_bar_is_its_own(angle, height):
    profile = fit_frame(bar(angle, height), UP)
    found = np.degrees(np.arctan2(-profile.frame.back[0], profile.frame.back[1]))
    assert abs(found - angle) < 3
    assert profile.height(central(profile.extent())) == pytest.approx(height, abs=1.01)
    front, rear = profile.extent()
    assert rear - front == pytest.approx(34, abs=1.6)


@given(angle=st.floats(-40, 40))
@settings(max_examples=20)
def test_a_profile_loses_no_area(angle):
    shape = bar(20.0)
    profile = Profile.of(shape, Frame.upright(shape.centre, np.array([-np.cos(angle), np.sin(angle)])))
    assert profile.areas.sum() == pytest.approx(shape.area)
    whole = (float(profile.edges[0]), float(profile.edges[-1]))
    assert profile.height(whole) * (whole[1] - whole[0]) == pytest.approx(shape.area)


@pytest.mark.parametrize("side", [1, -1])
def test_a_lip_beyond_a_rim_is_not_straight(side):
    shape = bar(0.0)
    inside = shape.inside.copy()
    # A lip of 5 mm over or under the foremost 7 mm.
    rows = slice(51, 56) if side > 0 else slice(64, 69)
    inside[rows, 43:50] = True
    profile = fit_frame(Shape(inside, (1.0, 1.0)), UP)
    whole = (float(profile.edges[0]), float(profile.edges[-1]))
    front, rear = profile.straight(whole, side)
    assert front - whole[0] == pytest.approx(7, abs=1)
    assert rear == pytest.approx(whole[1], abs=1)
    assert profile.straight(whole, -side) == pytest.approx(whole, abs=2)
