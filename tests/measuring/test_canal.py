"""The canal at a disc's level and its narrowest place nearby, on drawn spines."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_spinesegdiff.labels import SPINAL_CANAL
from nnunetv2_spinesegdiff.segmentation.measuring import remarks
from nnunetv2_spinesegdiff.segmentation.measuring.measure import measure_slice

from .drawn_spine import DrawnSpine, image_of
from .test_measure import MM, measured, rows_of, says


def test_the_fluid_is_the_bright_part_of_the_canal():
    spine = DrawnSpine(angle=6.0)
    mask = spine.mask()
    image = image_of(mask, disc=60, fluid=200)
    _, back = spine.local()
    # Cord and roots fill half of the canal, and the disc's rim is darker.
    image[(mask == SPINAL_CANAL) & (np.abs(back - 27) < 3.5)] = 70
    for row in rows_of(measure_slice(mask, image, MM), "ivd"):
        assert row["signal_relative_to_csf"] == pytest.approx(0.3)


def test_there_is_no_ratio_where_the_scale_cuts_the_fluid_off():
    mask = DrawnSpine().mask()
    for row in rows_of(measure_slice(mask, image_of(mask, fluid=255), MM), "ivd"):
        assert row["signal_relative_to_csf"] is None
        assert says(row, remarks.CLIPPED)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
def test_a_canal_that_is_not_there_all_along_has_no_width(shift):
    spine = DrawnSpine(angle=5.0)
    mask = spine.mask()
    up, _ = spine.local()
    level = spine.bottoms()[1] + spine.discs[1] / 2
    mask[(mask == SPINAL_CANAL) & (np.abs(up - level - 1.5 * shift) < 2.5)] = 0
    discs = rows_of(measured(mask), "ivd")
    assert [row["canal_width_mm"] is None for row in discs] == [False, True, False, False, False]
    assert says(discs[1], remarks.NO_LEVEL)
    assert discs[1]["height_mm"] is not None


FINE = (0.5, 0.5)


def canal_at(disc: int, mask: np.ndarray) -> tuple[float | None, float | None, str]:
    row = rows_of(measure_slice(mask, image_of(mask), FINE), "ivd")[disc]
    return row["canal_width_mm"], row["canal_narrowest_mm"], row["remark"]


def with_less_canal(away: float, high: float, front: float, rear: float) -> tuple[DrawnSpine, np.ndarray]:
    """A spine whose canal lacks a box so far above the third disc's level, between two depths of it."""
    spine = DrawnSpine(angle=7.0)
    mask = spine.mask(FINE)
    up, back = spine.local(FINE)
    level, depth = spine.bottoms()[2] + spine.discs[2] / 2, back - spine.depth / 2 - spine.gap
    box = (np.abs(up - level - away) < high / 2) & (depth > front) & (depth < rear)
    mask[(mask == SPINAL_CANAL) & box] = 0
    return spine, mask


@pytest.mark.parametrize(
    ("away", "narrowest"), [(0.0, 8.0), (6.0, 8.0), (-8.0, 8.0), (14.0, 14.0), (-14.0, 14.0)]
)
def test_the_narrowest_place_within_8_mm_counts(away, narrowest):
    spine, mask = with_less_canal(away, 6.0, -1.0, 6.0)
    width, least, _ = canal_at(2, mask)
    assert width == pytest.approx(spine.canal if away else narrowest, abs=0.3)
    assert least == pytest.approx(narrowest, abs=0.3)


@pytest.mark.parametrize("away", [4.5, 7.0, -9.0])
@pytest.mark.parametrize(
    "hole", [(1.0, -1.0, 15.0), (2.0, -1.0, 15.0), (4.0, 5.0, 9.0), (6.0, 3.0, 11.0)], ids=str
)
def test_a_hole_narrows_nothing(away, hole):
    spine, mask = with_less_canal(away, *hole)
    _, least, _ = canal_at(2, mask)
    assert least == pytest.approx(spine.canal, abs=0.4)


@pytest.mark.parametrize("away", [6.0, -7.0])
def test_an_interrupted_canal_has_no_narrowest_place_and_says_so(away):
    spine, mask = with_less_canal(away, 4.5, -1.0, 15.0)
    width, least, remark = canal_at(2, mask)
    assert width == pytest.approx(spine.canal, abs=0.3)
    assert least is None
    assert remarks.INTERRUPTED in remark


@pytest.mark.parametrize("beyond", [5.0, 7.0, 9.0])
def test_the_pointed_end_of_a_canal_is_no_narrow_place(beyond):
    """As a model's canal ends, at the top or where the sac does."""
    spine = DrawnSpine(angle=7.0)
    mask = spine.mask(FINE)
    up, back = spine.local(FINE)
    end = spine.bottoms()[4] + spine.discs[4] / 2 + beyond
    aside = np.abs(back - spine.depth / 2 - spine.gap - spine.canal / 2)
    pointed = up > end - 2 * np.clip(aside - spine.canal / 2 + 2, 0, None)
    mask[(mask == SPINAL_CANAL) & pointed] = 0
    assert canal_at(4, mask)[1] == pytest.approx(spine.canal, abs=0.6)
