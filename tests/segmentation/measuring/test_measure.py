"""Numbers of drawn spines, whose sizes are known, and of masks in which something is missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunetv2_spinesegdiff.labels import IVD, SPINAL_CANAL, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.measuring import remarks
from nnunetv2_spinesegdiff.segmentation.measuring.measure import COLUMNS, measure_slice

from ...helpers.drawn_spine import MM, DrawnSpine, image_of, measured, rows_of

SIZES = ("height_mm", "anterior_height_mm", "posterior_height_mm", "width_mm", "canal_width_mm")
ANGLES = st.floats(-25, 25)
SHIFTS = st.tuples(st.floats(-1, 1), st.floats(-1, 1))


def total(rows: list[dict], structure: str) -> dict:
    return next(row for row in rows if row["structure"] == structure and row["number"] is None)


def heights(rows: list[dict], structure: str) -> list[float | None]:
    return [row["height_mm"] for row in rows_of(rows, structure)]


@settings(max_examples=20)
@given(angle=ANGLES, shift=SHIFTS)
def test_sizes_of_rectangles_at_any_angle(angle, shift):
    spine = DrawnSpine(angle=angle, shift=shift)
    rows = measured(spine.mask())
    discs, bodies = rows_of(rows, "ivd"), rows_of(rows, "vertebrae")
    assert [row["number"] for row in discs] == [row["number"] for row in bodies] == [1, 2, 3, 4, 5]
    # Along the pixels' own axes an edge can be off by half a pixel, and both edges by a whole one.
    for row, height in zip(discs, spine.discs, strict=True):
        assert abs(row["height_mm"] - height) <= 1.01
        assert abs(row["width_mm"] - spine.depth) <= 1.25
        assert abs(row["canal_width_mm"] - spine.canal) <= 1.01
        assert row["signal_relative_to_csf"] == pytest.approx(0.5)
    for row in bodies:
        assert abs(row["height_mm"] - spine.body) <= 1.01
    for row, below, above in zip(discs[1:], bodies, bodies[1:], strict=False):
        mean = (below["height_mm"] + above["height_mm"]) / 2
        assert row["disc_height_index"] == pytest.approx(row["height_mm"] / mean)
    assert [remarks.NONE_BELOW in row["remark"] for row in discs] == [True, False, False, False, False]
    assert discs[0]["disc_height_index"] is None


@pytest.mark.parametrize(
    ("spacing", "angle", "mm"), [(MM, -20.0, 0.5), (MM, -7.0, 0.5), (MM, 13.0, 0.5), ((0.5, 0.8), 12.0, 0.3)]
)
def test_sizes_off_the_pixels_axes_are_right_to_half_a_pixel(spacing, angle, mm):
    spine = DrawnSpine(angle=angle)
    mask = spine.mask(spacing)
    rows = measure_slice(mask, image_of(mask), spacing)
    assert heights(rows, "ivd") == pytest.approx(list(spine.discs), abs=mm)
    assert heights(rows, "vertebrae") == pytest.approx([spine.body] * 5, abs=mm)
    canal = [row["canal_width_mm"] for row in rows_of(rows, "ivd")]
    assert canal == pytest.approx([spine.canal] * 5, abs=mm)


@pytest.mark.parametrize("wedge", [-5.0, 6.0])
def test_a_wedge_is_as_high_as_in_its_middle_and_its_ends_differ(wedge):
    spine = DrawnSpine(discs=(9.0, 11.0, 8.0), wedge=wedge, angle=9.0)
    for row, height in zip(rows_of(measured(spine.mask()), "ivd"), spine.discs, strict=True):
        assert row["height_mm"] == pytest.approx(height, abs=0.5)
        # From 10 to 20 % of the length off an end are 70 % of the way from the middle to it.
        assert row["anterior_height_mm"] == pytest.approx(height + 0.7 * wedge, abs=0.8)
        assert row["posterior_height_mm"] == pytest.approx(height - 0.7 * wedge, abs=0.8)


@settings(max_examples=6)
@given(factor=st.floats(0.8, 1.3), angle=ANGLES)
def test_sizes_scale_with_the_spacing(factor, angle):
    mask = DrawnSpine(angle=angle, discs=(8.0, 10.0, 6.0)).mask()
    scaled = measure_slice(mask, image_of(mask), (factor, factor))
    for one, other in zip(measured(mask), scaled, strict=True):
        assert other["area_mm2"] == pytest.approx(one["area_mm2"] * factor**2)
        for column in ("height_mm", "width_mm"):
            if one[column] is not None:
                assert other[column] == pytest.approx(one[column] * factor, rel=0.03, abs=0.3)


def test_every_row_has_the_columns_and_plain_values():
    mask = DrawnSpine(angle=5.0).mask()
    rows = measured(mask, uncertainty=np.full(mask.shape, 0.1), stage1=mask)
    for row in rows:
        assert tuple(row) == COLUMNS
        assert {type(value) for value in row.values()} <= {str, int, float, bool, type(None)}
        assert row["mean_uncertainty"] == pytest.approx(0.1)
    discs = sum(row["area_mm2"] for row in rows_of(rows, "ivd"))
    assert total(rows, "ivd")["area_mm2"] == (mask == IVD).sum() == discs


def test_small_and_misplaced_parts_change_nothing_but_the_remark():
    mask = DrawnSpine(angle=6.0).mask()
    before = measured(mask)
    dirty = mask.copy()
    for label, row in ((IVD, 20), (VERTEBRAE, 40), (IVD, 60)):
        # 16 mm² each, in front of the spine and, mirrored, behind it.
        dirty[row : row + 4, 30:34] = dirty[row : row + 4, -34:-30] = label
    dirty[100:110, 195:210] = IVD
    after = measured(dirty)
    for name, small in (("ivd", 4), ("vertebrae", 2)):
        assert rows_of(after, name) == rows_of(before, name)
        counted = remarks.counted(remarks.CRUMBS, small)
        assert counted is not None
        assert counted in total(after, name)["remark"]
    assert remarks.counted(remarks.CRUMBS, 0) is None
    assert total(after, "ivd")["remark"].count(";") == 1
    assert total(after, "ivd")["area_mm2"] == total(before, "ivd")["area_mm2"] + 64 + 150


Change = Callable[[DrawnSpine, np.ndarray, np.ndarray, np.ndarray], None]


def bridge_to_a_process(spine, mask, up, back):
    """A bar from the middle of the third body to its process, over the canal."""
    level = spine.bottoms()[2] + spine.discs[2] + 10
    mask[(np.abs(up - level) < 3) & (back > 0) & (back < 50)] = VERTEBRAE


def discs_joined_by_a_strip(spine, mask, up, back):
    strip = (back < -spine.depth / 2) & (back > -spine.depth / 2 - 3) & (up > spine.bottoms()[0])
    mask[strip & (up < spine.bottoms()[-1] + 4)] = IVD


def no_canal(spine, mask, up, back):
    mask[mask == SPINAL_CANAL] = 0


def no_vertebrae(spine, mask, up, back):
    mask[mask == VERTEBRAE] = 0


def no_discs(spine, mask, up, back):
    mask[mask == IVD] = 0


@pytest.mark.parametrize(
    ("change", "bodies_mm", "discs_mm"),
    [
        (bridge_to_a_process, 0.3, 0.1),
        (discs_joined_by_a_strip, None, 0.5),
        (no_canal, 0.3, 0.3),
        (no_vertebrae, None, 1.0),
        (no_discs, 1.0, None),
    ],
)
def test_defects_leave_heights_as_they_are(change: Change, bodies_mm, discs_mm):
    spine = DrawnSpine(angle=12.0)
    mask = spine.mask()
    before = measured(mask)
    change(spine, mask, *spine.local())
    after = measured(mask)
    for structure, mm in (("vertebrae", bodies_mm), ("ivd", discs_mm)):
        if mm is not None:
            assert heights(after, structure) == pytest.approx(heights(before, structure), abs=mm)
    assert (total(after, "ivd")["parts"] == 1) == (change is discs_joined_by_a_strip)
    assert (total(after, "vertebrae")["remark"] == remarks.NO_CANAL) == (change is no_canal)
    without = change in (no_canal, no_discs)
    assert all(row["canal_width_mm"] is None for row in rows_of(after, "ivd")) == without


def test_a_disc_in_two_halves_is_one():
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    before = measured(mask)
    mask[(np.abs(spine.local()[1]) < 1.5) & (mask == IVD)] = 0
    after = measured(mask)
    assert total(after, "ivd")["parts"] > 5
    # The gap, 3 mm of 27, has no height.
    expected = [row["height_mm"] * 24.2 / 27.2 for row in rows_of(before, "ivd")]
    assert heights(after, "ivd") == pytest.approx(expected, abs=0.4)


def test_bodies_that_touch_are_cut_along_the_disc():
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    before = measured(mask)
    mask[(np.abs(spine.local()[1] + 12) < 1.5) & (mask == IVD)] = VERTEBRAE
    after = measured(mask)
    # The bar, 3 mm of 27, makes each a little higher; the lowest also keeps what is below its disc.
    more = np.array(heights(after, "vertebrae"), float) - np.array(heights(before, "vertebrae"), float)
    assert (np.abs(more[1:]) < 3 / 27 * max(spine.discs)).all()


def test_bodies_without_a_disc_between_them_are_not_measured_as_one():
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    up, back = spine.local()
    bottom = spine.bottoms()[2]
    column = np.abs(back) < spine.depth / 2
    mask[column & (up > bottom - 1) & (up < bottom + spine.discs[2] + 1)] = VERTEBRAE
    bodies = rows_of(measured(mask), "vertebrae")
    assert [row["height_mm"] is None for row in bodies] == [False, True, False, False]
    assert bodies[1]["remark"] == remarks.SHAPE
    assert bodies[1]["area_mm2"] > 2 * 800


@pytest.mark.parametrize("hernia", [4.0, 8.0])
def test_bulges_do_not_make_a_disc_higher(hernia):
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    before = measured(mask)
    up, back = spine.local()
    for bottom, disc in zip(spine.bottoms(), spine.discs, strict=True):
        tall = np.abs(up - bottom - disc / 2) < disc / 2 + 4
        mask[tall & (np.abs(np.abs(back) - spine.depth / 2 - hernia / 2) < hernia / 2)] = IVD
    after = measured(mask)
    assert heights(after, "ivd") == pytest.approx(heights(before, "ivd"), abs=0.3)
    for one, other in zip(rows_of(before, "ivd"), rows_of(after, "ivd"), strict=True):
        assert other["width_mm"] == pytest.approx(one["width_mm"] + 2 * hernia, abs=1)


def test_an_empty_mask_has_a_row_per_structure():
    rows = measured(np.zeros((320, 320), np.uint8))
    assert [row["structure"] for row in rows] == ["spinal_canal", "vertebrae", "ivd"]
    for row in rows:
        assert row["remark"] == remarks.NOT_FOUND
        assert (row["area_mm2"], row["parts"]) == (0, 0)
        assert {row[column] for column in COLUMNS[5:-1]} == {None}


@pytest.mark.parametrize("angle", [0.0, -30.0])
def test_a_single_disc_and_nothing_else(angle):
    mask = DrawnSpine(discs=(8.0,), angle=angle).mask()
    mask[mask != IVD] = 0
    (disc,) = rows_of(measured(mask), "ivd")
    assert (disc["height_mm"], disc["width_mm"]) == pytest.approx((8, 34), abs=1.01)
    assert {disc[c] for c in ("disc_height_index", "signal_relative_to_csf", "canal_width_mm")} == {None}
    assert disc["remark"] == remarks.joined([remarks.NONE_BELOW, remarks.NONE_ABOVE, None, remarks.NO_LEVEL])


def test_bodies_that_the_line_beyond_the_canal_cuts_are_not_measured():
    spine = DrawnSpine()
    mask = spine.mask()
    up, back = spine.local()
    mask[mask == SPINAL_CANAL] = 0
    # Slices askew leave the canal: what is seen of it points into the upper bodies.
    mask[(np.abs(back - 26 + 0.2 * (up + 50)) < 7) & (up < -20) & (up > -85) & (mask == 0)] = SPINAL_CANAL
    bodies = rows_of(measured(mask), "vertebrae")
    assert [row["height_mm"] is None for row in bodies] == [False, False, True, True, True]
    assert {row["remark"] for row in bodies[2:]} == {remarks.SHAPE}


def test_without_canal_and_discs_bodies_and_processes_stay_one_structure():
    mask = DrawnSpine().mask()
    mask[mask != VERTEBRAE] = 0
    rows = measured(mask)
    assert len(rows) == 3
    assert total(rows, "vertebrae")["remark"] == remarks.NO_COURSE
    assert total(rows, "vertebrae")["area_mm2"] == (mask == VERTEBRAE).sum()


def test_a_disc_at_the_edge_has_an_area_only():
    spine = DrawnSpine()
    up, _ = spine.local()
    # The picture ends in the middle of the topmost disc.
    first = int(np.flatnonzero(up[:, 0] < spine.bottoms()[-1] + 4)[0])
    *_, top = rows_of(measured(spine.mask()[first:]), "ivd")
    assert top["remark"] == remarks.EDGE
    assert top["area_mm2"] > 0
    assert {top[column] for column in (*SIZES, "disc_height_index")} == {None}


def test_what_the_scan_cut_off_inside_the_array_is_cut_off():
    spine = DrawnSpine()
    mask, up = spine.mask(), spine.local()[0]
    image = image_of(mask)
    outside = up > spine.bottoms()[-1] + spine.discs[-1] + 12
    image[outside] = mask[outside] = 0
    rows = measure_slice(mask, image, MM)
    bodies, discs = rows_of(rows, "vertebrae"), rows_of(rows, "ivd")
    assert [row["height_mm"] is None for row in bodies] == [False] * 4 + [True]
    assert bodies[-1]["remark"] == remarks.EDGE
    # The disc below it is whole, but has no whole vertebra above.
    assert discs[-1]["height_mm"] is not None
    assert discs[-1]["disc_height_index"] is None
    assert remarks.NONE_ABOVE in discs[-1]["remark"]


def test_agreement_and_uncertainty_are_those_of_each_part():
    spine = DrawnSpine()
    mask, up = spine.mask(), spine.local()[0]
    uncertainty = np.where(mask == IVD, 0.25, 0.5)
    stage1 = mask.copy()
    third = (mask == IVD) & (np.abs(up - spine.bottoms()[2] - 3) < 4)
    stage1[third & (np.cumsum(third, axis=1) % 2 == 1)] = 0
    rows = measured(mask, uncertainty=uncertainty, stage1=stage1)
    discs = rows_of(rows, "ivd")
    assert [row["agreement"] for row in discs] == pytest.approx([1, 1, 2 / 3, 1, 1])
    assert [row["low_agreement"] for row in discs] == [False, False, True, False, False]
    assert {row["agreement"] for row in rows_of(rows, "vertebrae")} == {1.0}
    assert {row["mean_uncertainty"] for row in discs} == {0.25}
    disc, other = mask == IVD, stage1 == IVD
    dice = 2 * (disc & other).sum() / (disc.sum() + other.sum())
    assert total(rows, "ivd")["agreement"] == pytest.approx(dice)
    for row in measured(mask):
        assert {row["mean_uncertainty"], row["agreement"], row["low_agreement"]} == {None}


@pytest.mark.parametrize(
    ("spacing", "more", "message"),
    [
        ((1.0, 0.0), {}, "spacings"),
        ((1.0,), {}, "spacings"),
        (MM, {"uncertainty": np.zeros((3, 3))}, "uncertainty"),
        (MM, {"stage1": np.zeros((3, 3))}, "stage 1"),
    ],
)
def test_inputs_that_do_not_fit_together_are_rejected(spacing, more, message):
    with pytest.raises(ValueError, match=message):
        measure_slice(np.zeros((4, 4), np.uint8), np.zeros((4, 4)), spacing, **more)


@pytest.mark.parametrize("height", [3.0, 8.0])
def test_two_joined_discs_at_the_ends_of_a_part_are_two(height):
    spine = DrawnSpine(discs=(height, height), angle=5.0)
    mask = spine.mask()
    discs_joined_by_a_strip(spine, mask, *spine.local())
    assert total(measured(mask), "ivd")["parts"] == 1
    assert heights(measured(mask), "ivd") == pytest.approx([height] * 2, abs=0.5)


@pytest.mark.parametrize("seed", [0, 1, 3, 22, 40])
def test_random_blobs_give_finite_numbers_or_nothing(seed):
    rng = np.random.default_rng(seed)
    blur = (0, *rng.uniform(2, 8, 2))
    mask = ndimage.gaussian_filter(rng.normal(size=(4, 320, 320)), blur).argmax(0).astype(np.uint8)
    image = rng.uniform(0, 255, mask.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = measure_slice(mask, image, (1.0, 1.0), image / 255, np.roll(mask, 2, axis=0))
    values = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert values
    assert np.isfinite(values).all()
    assert min(values) >= 0
