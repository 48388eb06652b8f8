"""Where errors are looked for, and whether an uncertainty points at them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.uncertainty.ranking import error_auroc, near_foreground


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


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_counts_pairs(pixels):
    uncertainty, wrong = np.array([u for u, _ in pixels]) / 5, np.array([w for _, w in pixels])
    pairs = [(a, b) for a in uncertainty[wrong] for b in uncertainty[~wrong]]
    found = error_auroc(uncertainty, wrong)
    if not pairs:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.mean([1 if a > b else 0.5 if a == b else 0 for a, b in pairs]))


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        error_auroc(np.array([0.1, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        error_auroc(np.zeros(2), np.zeros(3, bool))
