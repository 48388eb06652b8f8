"""Where errors are looked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnunetv2_spinesegdiff.uncertainty.ranking import near_foreground


@pytest.mark.parametrize("pixels", [0, 1, 2.5, 10])
def test_near_is_what_a_loop_over_all_pixels_finds(pixels):
    rng = np.random.default_rng(0)
    masks = [rng.random((3, 17, 23)) < 0.01 for _ in range(2)]
    masks[0][1] = masks[1][1] = False  # a slice without foreground
    foreground = masks[0] | masks[1]
    expected = np.zeros(foreground.shape, bool)
    for z, y, x in np.ndindex(foreground.shape):
        expected[z, y, x] = any(math.hypot(y - b, x - a) <= pixels for b, a in np.argwhere(foreground[z]))
    assert (near_foreground(*masks, pixels=pixels) == expected).all()
