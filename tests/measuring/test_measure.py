"""Numbers of drawn spines, whose sizes are known, and of masks in which something is missing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunetv2_spinesegdiff.labels import IVD, SPINAL_CANAL, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.measuring import remarks
from nnunetv2_spinesegdiff.segmentation.measuring.measure import COLUMNS, measure_slice

from .drawn_spine import DrawnSpine, image_of

MM = (1.0, 1.0)
SIZES = ("height_mm", "anterior_height_mm", "posterior_height_mm", "width_mm", "canal_width_mm")
ANGLES = st.floats(-25, 25)
SHIFTS = st.tuples(st.floats(-1, 1), st.floats(-1, 1))


def rows_of(rows: list[dict], structure: str) -> list[dict]:
    return [row for row in rows if row["structure"] == structure and row["number"] is not None]


def total(rows: list[dict], structure: str) -> dict:
    return next(row for row in rows if row["structure"] == structure and row["number"] is None)


def measured(mask: np.ndarray, **more) -> list[dict]:
    return measure_slice(mask, image_of(mask), MM, **more)


def heights(rows: list[dict], structure: str) -> list[float | None]:
    return [row["height_mm"] for row in rows_of(rows, structure)]


def says(row: dict, remark: str) -> bool:
    return remark in row["remark"]


@settings(max_examples=25)
@given(angle=ANGLES, shift=SHIFTS)
def test_sizes_of_rectangles_at_any_angle(angle, shift):
    spine = DrawnSpine(angle=angle, shift=shift)
    rows = measured(spine.mask())
    discs, bodies = rows_of(rows, "ivd"), rows_of(rows, "vertebrae")
    assert [row["number"] for row in discs] == [row["number"] for row in bodies] == [1, 2, 3, 4, 5]
    # Along the pixels' own axes an edge can be off by half a pixel, and both edges by a whole one.
    for row, height in zip(discs, spine.discs, strict=True):
        assert abs(row["height_mm"] - height) <= 1.01
        assert abs(row["width_mm"] - spine.depth) <= 1.01
        assert abs(row["canal_width_mm"] - spine.canal) <= 1.01
        assert row["signal_relative_to_csf"] == pytest.approx(0.5)
    for row in bodies:
        assert abs(row["height_mm"] - spine.body) <= 1.01
    for row, below, above in zip(discs[1:], bodies, bodies[1:], strict=False):
        mean = (below["height_mm"] + above["height_mm"]) / 2
        assert row["disc_height_index"] == pytest.approx(row["height_mm"] / mean)
    assert [says(row, remarks.NONE_BELOW) for row in discs] == [True, False, False, False, False]
    assert discs[0]["disc_height_index"] is None


@pytest.mark.parametrize("angle", [-20.0, -7.0, 4.0, 13.0, 22.0])
def test_sizes_off_the_pixels_axes_are_right_to_half_a_pixel(angle):
    spine = DrawnSpine(angle=angle)
    rows = measured(spine.mask())
    assert heights(rows, "ivd") == pytest.approx(list(spine.discs), abs=0.5)
    assert heights(rows, "vertebrae") == pytest.approx([spine.body] * 5, abs=0.5)


@pytest.mark.parametrize("wedge", [-5.0, 3.0, 6.0])
def test_a_wedge_is_as_high_as_in_its_middle_and_its_ends_differ(wedge):
    spine = DrawnSpine(discs=(9.0, 11.0, 8.0), wedge=wedge, angle=9.0)
    for row, height in zip(rows_of(measured(spine.mask()), "ivd"), spine.discs, strict=True):
        assert row["height_mm"] == pytest.approx(height, abs=0.5)
        # From 10 to 20 % of the length off an end are 70 % of the way from the middle to it.
        assert row["anterior_height_mm"] == pytest.approx(height + 0.7 * wedge, abs=0.8)
        assert row["posterior_height_mm"] == pytest.approx(height - 0.7 * wedge, abs=0.8)


def test_turning_the_spine_changes_little():
    turned = [heights(measured(DrawnSpine(angle=10.0 + a).mask()), "ivd") for a in (0.0, 4.0, 8.0, 12.0)]
    assert np.ptp(np.array(turned, float), axis=0).max() < 0.5


@settings(max_examples=10)
@given(factor=st.floats(0.8, 1.3), angle=ANGLES)
def test_sizes_scale_with_the_spacing(factor, angle):
    mask = DrawnSpine(angle=angle, discs=(8.0, 10.0, 6.0)).mask()
    image = image_of(mask)
    for one, other in zip(
        measure_slice(mask, image, MM), measure_slice(mask, image, (factor, factor)), strict=True
    ):
        assert other["area_mm2"] == pytest.approx(one["area_mm2"] * factor**2)
        for column in ("height_mm", "width_mm"):
            if one[column] is not None:
                assert other[column] == pytest.approx(one[column] * factor, rel=0.03, abs=0.3)


def test_pixels_need_not_be_square():
    spine = DrawnSpine(angle=12.0)
    mask = spine.mask((0.5, 0.8))
    rows = measure_slice(mask, image_of(mask), (0.5, 0.8))
    assert heights(rows, "ivd") == pytest.approx(list(spine.discs), abs=0.3)
    assert heights(rows, "vertebrae") == pytest.approx([spine.body] * 5, abs=0.3)
    assert [row["canal_width_mm"] for row in rows_of(rows, "ivd")] == pytest.approx(
        [spine.canal] * 5, abs=0.3
    )


def test_every_row_has_the_columns_and_plain_values():
    mask = DrawnSpine(angle=5.0).mask()
    rows = measured(mask, uncertainty=np.full(mask.shape, 0.1), stage1=mask)
    assert [(row["structure"], row["number"]) for row in rows] == [
        *((name, None) for name in ("spinal_canal", "vertebrae", "ivd")),
        *(("ivd", number) for number in range(1, 6)),
        *(("vertebrae", number) for number in range(1, 6)),
    ]
    for row in rows:
        assert tuple(row) == COLUMNS
        assert {type(value) for value in row.values()} <= {str, int, float, bool, type(None)}
        assert row["mean_uncertainty"] == pytest.approx(0.1)
    assert (
        total(rows, "ivd")["area_mm2"]
        == (mask == IVD).sum()
        == sum(r["area_mm2"] for r in rows_of(rows, "ivd"))
    )


def test_crumbs_change_nothing_but_the_remark():
    mask = DrawnSpine(angle=6.0).mask()
    before = measured(mask)
    dirty = mask.copy()
    for label, row in ((IVD, 20), (VERTEBRAE, 40), (IVD, 60)):
        # 16 mm² each, in front of the spine and, mirrored, behind it.
        dirty[row : row + 4, 30:34] = label
        dirty[row : row + 4, -34:-30] = label
    after = measured(dirty)
    assert [rows_of(after, name) for name in ("ivd", "vertebrae")] == [
        rows_of(before, name) for name in ("ivd", "vertebrae")
    ]
    assert total(after, "ivd")["remark"] == "small part left out (4)"
    assert total(after, "vertebrae")["remark"] == "small part left out (2)"
    assert total(after, "ivd")["parts"] == total(before, "ivd")["parts"] == 5
    assert total(after, "ivd")["area_mm2"] == total(before, "ivd")["area_mm2"] + 64


def test_a_large_part_behind_the_canal_is_no_disc():
    mask = DrawnSpine().mask()
    before = rows_of(measured(mask), "ivd")
    mask[100:110, 195:210] = IVD
    rows = measured(mask)
    assert rows_of(rows, "ivd") == before
    assert total(rows, "ivd")["remark"] == "part of no disc left out (1)"


def test_a_bridge_to_a_spinous_process_is_cut():
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    before = measured(mask)
    up, back = spine.local()
    # A bar from the middle of the third body to its process, over the canal.
    level = spine.bottoms()[2] + spine.discs[2] + 10
    mask[(np.abs(up - level) < 3) & (back > 0) & (back < 50)] = VERTEBRAE
    after = measured(mask)
    assert heights(after, "vertebrae") == pytest.approx(heights(before, "vertebrae"), abs=0.3)
    assert heights(after, "ivd") == pytest.approx(heights(before, "ivd"), abs=0.1)


def test_discs_that_a_strip_joins_are_told_apart():
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    before = measured(mask)
    up, back = spine.local()
    strip = (back < -spine.depth / 2) & (back > -spine.depth / 2 - 3) & (up > spine.bottoms()[0])
    mask[strip & (up < spine.bottoms()[-1] + 4)] = IVD
    after = measured(mask)
    assert total(after, "ivd")["parts"] == 1
    assert heights(after, "ivd") == pytest.approx(heights(before, "ivd"), abs=0.5)


def test_a_disc_in_two_halves_is_one():
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    before = measured(mask)
    _, back = spine.local()
    mask[(np.abs(back) < 1.5) & (mask == IVD)] = 0
    after = measured(mask)
    assert total(after, "ivd")["parts"] > 5
    # The gap, 3 mm of 27, has no height.
    expected = [row["height_mm"] * 24.2 / 27.2 for row in rows_of(before, "ivd")]
    assert heights(after, "ivd") == pytest.approx(expected, abs=0.4)


def test_bodies_that_touch_are_cut_along_the_disc():
    spine = DrawnSpine(angle=8.0)
    mask = spine.mask()
    before = measured(mask)
    _, back = spine.local()
    mask[(np.abs(back + 12) < 1.5) & (mask == IVD)] = VERTEBRAE
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
    # The lowest disc has no vertebra below, only its own lower edge to tell where it ends.
    assert heights(after, "ivd") == pytest.approx(heights(before, "ivd"), abs=0.3)
    for one, other in zip(rows_of(before, "ivd"), rows_of(after, "ivd"), strict=True):
        assert other["width_mm"] == pytest.approx(one["width_mm"] + 2 * hernia, abs=1)


def test_an_empty_mask_gives_three_rows_that_say_so():
    rows = measured(np.zeros((320, 320), np.uint8))
    assert [row["structure"] for row in rows] == ["spinal_canal", "vertebrae", "ivd"]
    for row in rows:
        assert row["remark"] == remarks.NOT_FOUND
        assert (row["area_mm2"], row["parts"]) == (0, 0)
        assert {row[column] for column in COLUMNS[4:-1]} == {None}


@pytest.mark.parametrize("angle", [0.0, 30.0, -30.0])
def test_a_single_disc_and_nothing_else(angle):
    mask = DrawnSpine(discs=(8.0,), angle=angle).mask()
    mask[mask != IVD] = 0
    rows = measured(mask)
    (disc,) = rows_of(rows, "ivd")
    assert disc["height_mm"] == pytest.approx(8, abs=1.01)
    assert disc["width_mm"] == pytest.approx(34, abs=1.01)
    for column in ("disc_height_index", "signal_relative_to_csf", "canal_width_mm"):
        assert disc[column] is None
    assert disc["remark"] == f"{remarks.NONE_BELOW}; {remarks.NONE_ABOVE}; {remarks.NO_LEVEL}"


def test_without_a_canal_the_discs_tell_bodies_from_processes():
    mask = DrawnSpine(angle=12.0).mask()
    before = measured(mask)
    mask[mask == SPINAL_CANAL] = 0
    rows = measured(mask)
    assert total(rows, "vertebrae")["remark"] == remarks.NO_CANAL
    assert total(rows, "vertebrae")["parts"] == 10
    assert len(rows_of(rows, "vertebrae")) == 5
    assert heights(rows, "vertebrae") == pytest.approx(heights(before, "vertebrae"), abs=0.3)
    assert heights(rows, "ivd") == pytest.approx(heights(before, "ivd"), abs=0.3)
    assert all(row["canal_width_mm"] is None for row in rows_of(rows, "ivd"))


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


def test_without_canal_and_discs_vertebrae_are_not_told_from_processes():
    mask = DrawnSpine().mask()
    mask[mask != VERTEBRAE] = 0
    rows = measured(mask)
    assert len(rows) == 3
    assert total(rows, "vertebrae")["remark"] == remarks.NO_COURSE
    assert total(rows, "vertebrae")["area_mm2"] == (mask == VERTEBRAE).sum()


def test_without_vertebrae_discs_are_measured_all_the_same():
    spine = DrawnSpine(angle=12.0)
    mask = spine.mask()
    mask[mask == VERTEBRAE] = 0
    discs = rows_of(measured(mask), "ivd")
    assert [row["height_mm"] for row in discs] == pytest.approx(list(spine.discs), abs=0.5)
    assert {row["disc_height_index"] for row in discs} == {None}


def test_without_discs_vertebrae_are_measured_all_the_same():
    spine = DrawnSpine(angle=12.0)
    mask = spine.mask()
    mask[mask == IVD] = 0
    bodies = rows_of(measured(mask), "vertebrae")
    assert [row["height_mm"] for row in bodies] == pytest.approx([spine.body] * 5, abs=0.5)


def test_a_disc_at_the_edge_has_an_area_only():
    spine = DrawnSpine()
    up, _ = spine.local()
    # The picture ends in the middle of the topmost disc.
    first = int(np.flatnonzero(up[:, 0] < spine.bottoms()[-1] + 4)[0])
    mask = spine.mask()[first:]
    *_, top = rows_of(measured(mask), "ivd")
    assert top["remark"] == remarks.EDGE
    assert top["area_mm2"] > 0
    assert {top[column] for column in (*SIZES, "disc_height_index")} == {None}


def test_what_the_scan_cut_off_inside_the_array_is_cut_off():
    spine = DrawnSpine()
    mask, up = spine.mask(), spine.local()[0]
    image = image_of(mask)
    outside = up > spine.bottoms()[-1] + spine.discs[-1] + 12
    image[outside] = 0
    mask[outside] = 0
    rows = measure_slice(mask, image, MM)
    bodies, discs = rows_of(rows, "vertebrae"), rows_of(rows, "ivd")
    assert [row["height_mm"] is None for row in bodies] == [False] * 4 + [True]
    assert bodies[-1]["remark"] == remarks.EDGE
    # The disc below it is whole, but has no whole vertebra above.
    assert discs[-1]["height_mm"] is not None
    assert discs[-1]["disc_height_index"] is None
    assert says(discs[-1], remarks.NONE_ABOVE)


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
    both = 2 * ((mask == IVD) & (stage1 == IVD)).sum()
    assert total(rows, "ivd")["agreement"] == pytest.approx(
        both / ((mask == IVD).sum() + (stage1 == IVD).sum())
    )


def test_without_map_and_stage_1_their_cells_are_empty():
    for row in measured(DrawnSpine().mask()):
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
def test_what_does_not_fit_together_is_refused(spacing, more, message):
    with pytest.raises(ValueError, match=message):
        measure_slice(np.zeros((4, 4), np.uint8), np.zeros((4, 4)), spacing, **more)


def test_remarks_are_of_the_fixed_words():
    assert len(set(remarks.REMARKS)) == len(remarks.REMARKS)
    assert remarks.counted(remarks.CRUMBS, 0) is None
    assert remarks.counted(remarks.CRUMBS, 2) == "small part left out (2)"
    assert remarks.joined([None, remarks.EDGE, "", remarks.SHAPE]) == f"{remarks.EDGE}; {remarks.SHAPE}"


@pytest.mark.parametrize("height", [3.0, 8.0])
def test_two_joined_discs_at_the_ends_of_a_part_are_two(height):
    spine = DrawnSpine(discs=(height, height), angle=5.0)
    mask = spine.mask()
    up, back = spine.local()
    strip = (np.abs(back + spine.depth / 2 + 2) < 2) & (up > spine.bottoms()[0])
    mask[strip & (up < spine.bottoms()[1] + height)] = IVD
    assert total(measured(mask), "ivd")["parts"] == 1
    assert heights(measured(mask), "ivd") == pytest.approx([height] * 2, abs=0.5)


def clouds(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask of blobs that are no spine, and an image."""
    rng = np.random.default_rng(seed)
    blur = (0, *rng.uniform(2, 8, 2))
    mask = ndimage.gaussian_filter(rng.normal(size=(4, 320, 320)), blur).argmax(0).astype(np.uint8)
    return mask, rng.uniform(0, 255, mask.shape)


@pytest.mark.parametrize("seed", [0, 1, 3, 22, 40])
def test_what_is_no_spine_gives_numbers_or_nothing(seed):
    mask, image = clouds(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = measure_slice(mask, image, (1.0, 1.0), image / 255, np.roll(mask, 2, axis=0))
    values = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert values
    assert np.isfinite(values).all()
    assert min(values) >= 0
