"""Where the picture ends."""

from __future__ import annotations

import numpy as np

from nnunetv2_spinesegdiff.segmentation.measuring.edges import beyond_edge


def test_padding_is_beyond_the_edge_and_so_are_two_pixels_of_the_picture():
    image = np.zeros((20, 16))
    image[3:17, 4:14] = 5.0
    # Air in the picture is no padding.
    image[6:9] = 0.0
    image[:, 8] = 0.0
    expected = np.ones(image.shape, dtype=bool)
    expected[5:15, 6:12] = False
    assert np.array_equal(beyond_edge(image), expected)


def test_an_image_of_nothing_ends_with_the_array():
    inside = ~beyond_edge(np.zeros((9, 8)))
    assert inside.sum() == 5 * 4
    assert inside[2:7, 2:6].all()
