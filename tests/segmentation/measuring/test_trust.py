"""Neighbourhoods of parts against a search over all pixels; Dice and means of masks."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_spinesegdiff.segmentation.measuring.shapes import Shape
from nnunetv2_spinesegdiff.segmentation.measuring.trust import (
    NEIGHBOURHOOD_MM,
    dice,
    mean_inside,
    neighbourhoods,
)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 1.5)])
def test_a_neighbourhood_is_what_is_near_and_nearest(spacing):
    rng = np.random.default_rng(0)
    structure = np.zeros((40, 30), dtype=bool)
    structure[5:9, 4:20] = structure[16:20, 6:22] = structure[30:33, 20:24] = True
    first, second = np.zeros_like(structure), np.zeros_like(structure)
    first[5:9, 4:20] = second[16:20, 6:22] = True
    found = neighbourhoods(structure, [Shape(first, spacing), Shape(second, spacing)])
    groups = [np.argwhere(part) * spacing for part in (first, second, structure & ~first & ~second)]
    for pixel in rng.integers((0, 0), structure.shape, (300, 2)):
        far = [np.linalg.norm(group - pixel * spacing, axis=1).min() for group in groups]
        if min(far) > NEIGHBOURHOOD_MM:
            assert not any(near[tuple(pixel)] for near in found)
        elif np.ptp(np.sort(far)[:2]) > 1e-9:
            assert [bool(near[tuple(pixel)]) for near in found] == [int(np.argmin(far)) == n for n in (0, 1)]


def test_dice_and_means_of_nothing_are_none():
    empty, one = np.zeros((3, 3), dtype=bool), np.eye(3, dtype=bool)
    assert [dice(empty, empty), dice(empty, one), dice(one, one)] == [None, 0, 1]
    assert mean_inside(None, one) is None
    assert mean_inside(np.ones((3, 3)), empty) is None
    assert mean_inside(np.arange(9.0).reshape(3, 3), one) == 4
    assert neighbourhoods(one, []) == []
