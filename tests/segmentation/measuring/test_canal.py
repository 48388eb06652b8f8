"""The canal at a disc's level and its narrowest place nearby, on drawn spines."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_spinesegdiff.labels import SPINAL_CANAL
from nnunetv2_spinesegdiff.segmentation.measuring import remarks
from nnunetv2_spinesegdiff.segmentation.measuring.measure import measure_slice

from ...helpers.drawn_spine import MM, DrawnSpine, image_of, measured, rows_of

FINE = (0.5, 0.5)


@pytest.mark.parametrize("clipped", [False, True])
def test_the_signal_relates_to_the_bright_part_of_the_canal_unless_it_is_clipped(clipped):
    spine = DrawnSpine(angle=6.0)
    mask = spine.mask()
    image = image_of(mask, disc=60, fluid=255 if clipped else 200)
    _, back = spine.local()
    # Cord and roots fill half of the canal, and the disc's rim is darker.
    image[(mask == SPINAL_CANAL) & (np.abs(back - 27) < 3.5)] = 70
    for row in rows_of(measure_slice(mask, image, MM), "ivd"):
        assert row["signal_relative_to_csf"] == (None if clipped else pytest.approx(0.3))
        assert (remarks.CLIPPED in row["remark"]) == clipped


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_an_incomplete_canal_has_no_width(shift):
    spine = DrawnSpine(angle=5.0)
    mask = spine.mask()
    up, _ = spine.local()
    level = spine.bottoms()[1] + spine.discs[1] / 2
    mask[(mask == SPINAL_CANAL) & (np.abs(up - level - 1.5 * shift) < 2.5)] = 0
    discs = rows_of(measured(mask), "ivd")
    assert [row["canal_width_mm"] is None for row in discs] == [False, True, False, False, False]
    assert remarks.NO_LEVEL in discs[1]["remark"]
    assert discs[1]["height_mm"] is not None


def canal_at(disc: int, mask: np.ndarray) -> tuple[float | None, float | None, str]:
    row = rows_of(measure_slice(mask, image_of(mask), FINE), "ivd")[disc]
    return row["canal_width_mm"], row["canal_narrowest_mm"], row["remark"]


NARROW, CUT = (6.0, -1.0, 6.0), (4.5, -1.0, 15.0)


@pytest.mark.parametrize(
    ("away", "box", "narrowest"),
    [
        # Within 8 mm of the level a narrow place counts.
        *((0.0, NARROW, 8.0), (6.0, NARROW, 8.0), (-8.0, NARROW, 8.0), (14.0, NARROW, 14.0)),
        # Holes narrow nothing.
        *((4.5, (1.0, -1.0, 15.0), 14.0), (-9.0, (2.0, -1.0, 15.0), 14.0)),
        *((7.0, (4.0, 5.0, 9.0), 14.0), (4.5, (6.0, 3.0, 11.0), 14.0), (-9.0, (6.0, 3.0, 11.0), 14.0)),
        # An interrupted canal has no narrowest place.
        *((6.0, CUT, None), (-7.0, CUT, None)),
    ],
)
def test_the_narrowest_place_of_a_canal_that_lacks_a_box(away, box, narrowest):
    """The box lies `away` mm above the third disc's level: its height and its two depths in the canal."""
    spine = DrawnSpine(angle=7.0)
    mask = spine.mask(FINE)
    up, back = spine.local(FINE)
    high, front, rear = box
    level, depth = spine.bottoms()[2] + spine.discs[2] / 2, back - spine.depth / 2 - spine.gap
    lost = (np.abs(up - level - away) < high / 2) & (depth > front) & (depth < rear)
    mask[(mask == SPINAL_CANAL) & lost] = 0
    width, least, remark = canal_at(2, mask)
    assert least == (None if narrowest is None else pytest.approx(narrowest, abs=0.4))
    assert (remarks.INTERRUPTED in remark) == (narrowest is None)
    if box in (NARROW, CUT):
        assert width == pytest.approx(spine.canal if away else narrowest, abs=0.3)


@pytest.mark.parametrize("beyond", [5.0, 9.0])
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
