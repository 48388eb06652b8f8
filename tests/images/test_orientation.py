"""The slice that is shown and how it is turned, checked by the world positions of its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_spinesegdiff.images.orientation import View, view_of

from ..helpers.spider_series import ALL_48, rotation

SPACING = (0.5, 1.5, 4.0)
SHAPE = (4, 5, 6)
AXES_OF = {"R": (-1, 0, 0), "L": (1, 0, 0), "A": (0, -1, 0), "P": (0, 1, 0), "F": (0, 0, -1), "H": (0, 0, 1)}


def positions(shape: tuple[int, ...], direction: np.ndarray) -> np.ndarray:
    """LPS positions in mm, (3, Z, Y, X), voxel by voxel as ITK defines them."""
    placed = np.empty((3, *shape))
    for z, y, x in np.ndindex(*shape):
        placed[:, z, y, x] = direction @ (np.array([x, y, z]) * SPACING[::-1])
    return placed


def steps(view: View, direction: np.ndarray, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """World vectors from one row of the picture to the one below, and from one column to its right."""
    shown = view.of(positions(shape, direction))
    assert shown.ndim == 3
    down, right = shown[:, 1, 0] - shown[:, 0, 0], shown[:, 0, 1] - shown[:, 0, 0]
    np.testing.assert_allclose(np.linalg.norm(down), view.spacing[0])
    np.testing.assert_allclose(np.linalg.norm(right), view.spacing[1])
    return down / view.spacing[0], right / view.spacing[1]


def check_letters(view: View, down: np.ndarray, right: np.ndarray, at_least: float = 0.999) -> None:
    """Each letter's direction is that of the step towards its edge."""
    for letter, towards in zip(view.letters, (-down, down, -right, right), strict=True):
        assert np.dot(AXES_OF[letter], towards) > at_least


def test_a_volume_is_shown_sagittal_head_up_and_anterior_left():
    for direction in ALL_48:
        mask = np.zeros(SHAPE, dtype=int)
        left_right = 2 - int(np.abs(direction[0]).argmax())
        np.moveaxis(mask, left_right, 0)[1] = 3
        view = view_of(mask, direction, SPACING)
        assert (view.axis, view.index) == (left_right, 1)
        assert view.letters == ("H", "F", "A", "P")
        check_letters(view, *steps(view, direction))
        assert (view.of(mask) == 3).all()


@pytest.mark.parametrize("single", [0, 1, 2])
def test_a_single_slice_is_shown_in_its_own_plane(single):
    shape = tuple(1 if axis == single else size for axis, size in enumerate(SHAPE))
    plane = {0: ("H", "F", "A", "P"), 1: ("H", "F", "R", "L"), 2: ("A", "P", "R", "L")}
    for direction in ALL_48:
        view = view_of(np.ones(shape, dtype=int), direction, SPACING)
        assert (view.axis, view.index) == (single, 0)
        assert view.letters == plane[int(np.abs(direction[:, 2 - single]).argmax())]
        check_letters(view, *steps(view, direction, shape))


@pytest.mark.parametrize("degrees", [(20, 0, 0), (0, -35, 0), (0, 0, 40)])
def test_oblique_volumes_are_shown_along_their_own_axes(degrees):
    for straight in ALL_48[::5]:
        direction = rotation(degrees) @ straight
        view = view_of(np.ones(SHAPE, dtype=int), direction, SPACING)
        assert view.letters == ("H", "F", "A", "P")
        check_letters(view, *steps(view, direction), at_least=0.75)
    askew = view_of(np.ones(SHAPE, dtype=int), rotation((0, 45, 45)), SPACING)
    assert askew.letters == ("H", "F", "A", "P")


def test_the_fullest_slice_is_shown_and_the_middle_one_of_an_empty_mask():
    mask = np.zeros(SHAPE, dtype=int)
    mask[:, :, 4] = 1
    mask[:2, :2, 1] = 5
    assert view_of(mask, np.eye(3), SPACING).index == 4
    assert view_of(mask * 0, np.eye(3), SPACING).index == 3


def test_without_cosines_the_slice_stays_as_it_is_and_has_no_letters():
    mask = np.arange(30).reshape(1, 5, 6)
    view = view_of(mask, None, SPACING)
    np.testing.assert_array_equal(view.of(mask), mask[0])
    assert view.letters == ("", "", "", "")
    assert view.spacing == (1.5, 4.0)
