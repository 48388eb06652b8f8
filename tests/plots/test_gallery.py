"""Pictures of the gallery: small, every outline in its color, a millimeter as long down as across."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from nnunetv2_spinesegdiff.plots.gallery import SIZE, draw_heatmap, draw_mask, heat_colors
from nnunetv2_spinesegdiff.plots.style import looks_of
from nnunetv2_spinesegdiff.uncertainty.confidence import Structures

STRUCTURES: Structures = {"canal": 1, "spine": (2, 3), "absent": 9}
MASK = np.zeros((40, 60), dtype=int)
MASK[5:15, 10:30], MASK[18:26, 10:30], MASK[26:34, 10:30] = 1, 2, 3
IMAGE = np.tile(np.linspace(0, 100, 60), (40, 1))


def pixels(drawing) -> np.ndarray:
    return imread(BytesIO(drawing.jpeg), format="jpg").astype(float) / 255


def like(picture: np.ndarray, color: str) -> int:
    return int((np.abs(picture - to_rgb(color)).max(-1) < 0.15).sum())


def test_structures_are_outlined_in_their_colors_and_absent_ones_not():
    looks = looks_of(STRUCTURES)
    drawn = pixels(draw_mask(IMAGE, MASK, (1, 1), STRUCTURES))
    assert like(drawn, looks["canal"][0]) > 300
    assert like(drawn, looks["spine"][0]) > 300
    assert like(drawn, looks["absent"][0]) == 0
    scale = SIZE / 60
    between = drawn[round(25.5 * scale) : round(27 * scale), round(14 * scale) : round(26 * scale)]
    assert like(between, looks["spine"][0]) == 0, "no line between the labels of a region"


def test_size_aspect_letters_and_label():
    drawing = draw_mask(IMAGE * 0, MASK * 0, (3.0, 0.5), STRUCTURES, label=MASK, letters=("H", "", "", ""))
    picture = pixels(drawing)
    assert picture.shape[:2] == (drawing.height, drawing.width)
    assert max(drawing.height, drawing.width) == SIZE
    assert drawing.height / drawing.width == pytest.approx(40 * 3 / (60 * 0.5), rel=0.02)
    assert picture[:30].max() > 0.8, "a letter at the top"
    assert (picture.min(-1) > 0.3).sum() > 300, "the label lies beneath as a white line"


def test_the_heatmap_has_the_colors_of_its_key_and_lets_certain_pixels_through():
    dark = np.zeros_like(IMAGE)
    heat = np.where(np.arange(60) < 30, 0.3, 0.019)[None].repeat(40, 0)
    picture = pixels(draw_heatmap(dark, heat, MASK * 0, (1, 1), STRUCTURES))
    seen = picture[SIZE // 3, SIZE // 4]
    assert np.abs(seen - 0.85 * np.array(to_rgb(heat_colors([0.3])[0]))).max() < 0.06
    assert picture[:, SIZE // 2 + 10 :].max() < 0.1


def test_noisy_and_constant_slices():
    image = np.random.default_rng(0).gamma(4, 12, (320, 320))
    mask = np.kron(MASK[:, :40], np.ones((8, 8), dtype=int))
    assert len(draw_mask(image, mask, (1, 1), STRUCTURES, label=mask).jpeg) < 60_000
    drawing = draw_mask(np.ones((7, 5)), np.zeros((7, 5)), (1, 1), STRUCTURES, label=np.zeros((7, 5)))
    assert (drawing.width, drawing.height) == (229, SIZE)
