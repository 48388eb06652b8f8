"""Numbers and names of levels, against drawn and synthetic spines whose numbers are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunetv2_spinesegdiff.labels import BACKGROUND, IVD, SPINAL_CANAL, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.measuring.ladder import SPECK_MM2
from nnunetv2_spinesegdiff.segmentation.measuring.levels import LOWEST_DISCS, Levels, number_levels
from nnunetv2_spinesegdiff.segmentation.measuring.plausible import without_outside_parts

from ...helpers.drawn_spine import MM, DrawnSpine
from ...helpers.phantom_truth import Series, series_of, series_with_lumbar

INCLINED = -25.0
"""Degrees: the drawn spine leans so that its discs are as steep as L5-S1."""


def discs_of(count: int) -> tuple[float, ...]:
    return tuple(8.0 for _ in range(count))


def share_right(numbers: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true pixels of vertebrae and discs that have their number, whole or partly visible."""
    there = (truth > 0) & (truth != 100)
    return float((whole(numbers)[there] == whole(truth)[there]).mean())


def whole(numbers: np.ndarray) -> np.ndarray:
    """Numbers of partly visible vertebrae are 100 less."""
    return np.where((numbers > 100) & (numbers < 200), numbers % 100, numbers)


def wrong(numbers: np.ndarray, truth: np.ndarray, least: int = 50) -> list[int]:
    """True vertebrae and discs of at least 50 pixels of which most have another number."""
    found = []
    for number in np.unique(truth[(truth > 0) & (truth != 100)]):
        inside = truth == number
        if inside.sum() >= least and np.bincount(whole(numbers)[inside]).argmax() != whole(number):
            found.append(int(number))
    return found


@cache
def phantoms() -> list[Series]:
    return [series for patient in ((1, 2), (1, 3), (3, 11)) for series in series_of(*patient)]


@pytest.mark.parametrize("spacing", [(0.7, 0.9), MM, (2.0, 1.0)])
@pytest.mark.parametrize("angle", [-30, 0, 20])
def test_every_pixel_of_a_drawn_spine_gets_its_number(spacing, angle):
    spine = DrawnSpine(angle=angle)
    levels = number_levels(spine.mask(spacing), spacing)
    assert np.array_equal(levels.numbers, spine.numbers(spacing))


@pytest.mark.parametrize("count", [4, 5, 6, 7])
def test_vertebrae_and_discs_are_named_upward_from_l5_s1(count):
    levels = number_levels(DrawnSpine(discs=discs_of(count)).mask(), MM)
    names = ["L5", "L4", "L3", "L2", "L1", "T12", "T11"][:count]
    assert {n: name for n, name in levels.names.items() if n < 100} == dict(enumerate(names, start=1))
    below = ["S1", *names]
    assert {n: name for n, name in levels.names.items() if n > 200} == {
        201 + place: f"{upper}-{lower}"
        for place, (upper, lower) in enumerate(zip(names, below, strict=False))
    }
    assert levels.names[100] == "spinal canal"


def test_synthetic_spines_are_numbered_as_they_were_drawn():
    for series in phantoms():
        levels = number_levels(series.mask, MM)
        assert wrong(levels.numbers, series.numbers) == [], series.name
        assert share_right(levels.numbers, series.numbers) > 0.98, series.name
        assert levels.names[201] == "L5-S1"


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_four_five_and_six_lumbar_vertebrae_are_numbered_from_below(lumbar):
    series = series_with_lumbar(1, 2, lumbar)
    levels = number_levels(series.mask, MM)
    assert wrong(levels.numbers, series.numbers) == []
    assert "five lumbar vertebrae assumed" in levels.basis


def test_a_sixth_body_as_high_as_the_lumbar_ones_is_reported():
    even = number_levels(DrawnSpine(discs=discs_of(7)).mask(), MM)
    assert any("six lumbar" in warning for warning in even.warnings)
    assert even.confidence == "low"
    for series in phantoms():
        levels = number_levels(series.mask, MM)
        assert not any("six lumbar" in warning for warning in levels.warnings), series.name


@pytest.mark.parametrize(
    ("lowest", "vertebrae", "discs"),
    [
        ("L5-S1", {1: "L5", 2: "L4", 5: "L1"}, {201: "L5-S1", 202: "L4-L5"}),
        ("L4-L5", {2: "L4", 3: "L3", 6: "T12"}, {202: "L4-L5", 206: "T12-L1"}),
        ("L6-S1", {1: "L6", 2: "L5", 5: "L2"}, {201: "L6-S1", 202: "L5-L6"}),
        ("L4-S1", {1: "L4", 4: "L1", 5: "T12"}, {201: "L4-S1", 205: "T12-L1"}),
        ("S1-S2", {25: "S1", 1: "L5", 4: "L2"}, {225: "S1-S2", 201: "L5-S1"}),
    ],
)
def test_the_user_can_state_the_lowest_disc(lowest, vertebrae, discs):
    levels = number_levels(DrawnSpine().mask(), MM, lowest_disc=lowest)
    assert (vertebrae | discs).items() <= levels.names.items()
    assert set(levels.names) == set(np.unique(levels.numbers)) - {0}
    assert levels.confidence == "given"
    assert lowest in levels.basis


def test_every_name_of_a_lowest_disc_is_the_name_of_that_disc():
    mask = DrawnSpine().mask()
    for name in LOWEST_DISCS:
        levels = number_levels(mask, MM, lowest_disc=name)
        discs = {n: text for n, text in levels.names.items() if n > 200}
        assert name in discs.values()
        if name != "S1-S2":
            assert discs[min(discs)] == name
    with pytest.raises(ValueError, match="L5-S9"):
        number_levels(mask, MM, lowest_disc="L5-S9")


@pytest.mark.parametrize("rows", [45, 60, 75])
def test_a_spine_that_ends_at_the_lower_edge_is_reported(rows):
    for series in phantoms():
        last = np.flatnonzero(series.mask.any(axis=1))[-1]
        mask = series.mask[: last + 1 - rows]
        levels = number_levels(mask, MM)
        assert any("lower edge" in warning for warning in levels.warnings), series.name
        assert levels.confidence == "low"


def test_with_the_lowest_disc_stated_a_cut_spine_is_numbered_right():
    for series in phantoms():
        last = np.flatnonzero(series.numbers == 201)[-1] // series.mask.shape[1]
        mask, truth = series.mask[: last - 60], series.numbers[: last - 60]
        lowest = int(truth[truth > 200].min())
        name = number_levels(series.mask, MM).names[lowest]
        levels = number_levels(mask, MM, lowest_disc=name)
        assert wrong(levels.numbers, truth) == [], series.name


@pytest.mark.parametrize("fused", [202, 203, 204])
def test_two_bodies_without_a_disc_between_them_are_two_vertebrae(fused):
    spine = DrawnSpine(discs=discs_of(6))
    truth, mask = spine.numbers(), spine.mask()
    mask[truth == fused] = VERTEBRAE
    truth[truth == fused] = 0
    levels = number_levels(mask, MM)
    assert wrong(levels.numbers, truth) == []
    assert fused not in levels.names
    for series in phantoms():
        mask = np.where(series.numbers == fused, VERTEBRAE, series.mask)
        truth = np.where(series.numbers == fused, 0, series.numbers)
        assert wrong(number_levels(mask, MM).numbers, truth) == [], series.name


def test_two_discs_joined_by_a_bridge_are_two_discs():
    spine = DrawnSpine()
    truth, mask = spine.numbers(), spine.mask()
    second, third = (ndimage.center_of_mass(truth == number) for number in (202, 203))
    mask[int(third[0]) : int(second[0]), 92:95] = IVD  # along the front of the body between them
    assert ndimage.label(mask == IVD)[1] == len(spine.discs) - 1
    levels = number_levels(mask, MM)
    assert wrong(levels.numbers, truth) == []


@pytest.mark.parametrize("slip", [-12, -8, 8, 12])
def test_a_slipped_vertebra_keeps_its_number(slip):
    spine = DrawnSpine()
    truth, mask = spine.numbers(), spine.mask()
    bottom = np.flatnonzero((truth == 2).any(axis=1))[-1]
    for array in (truth, mask):
        array[: bottom + 1] = np.roll(array[: bottom + 1], slip, axis=1)
    levels = number_levels(mask, MM)
    assert wrong(levels.numbers, truth) == []


def test_a_body_below_the_lowest_disc_is_l5():
    spine = DrawnSpine()
    truth, mask = spine.numbers(), spine.mask()
    mask[truth == 201] = BACKGROUND
    truth[truth == 201] = 0
    levels = number_levels(mask, MM)
    assert np.array_equal(levels.numbers, truth)
    assert "below" in levels.basis or "gap" in levels.basis


def test_a_rim_of_the_sacrum_is_not_a_vertebra():
    spine = DrawnSpine()
    mask = spine.mask()
    last = np.flatnonzero((mask == IVD).any(axis=1))[-1]
    mask[last + 2 : last + 6, 95:125] = VERTEBRAE
    levels = number_levels(mask, MM)
    assert share_right(levels.numbers, spine.numbers()) == 1


def test_a_short_disc_below_the_promontory_is_s1_s2_with_a_warning():
    spine = DrawnSpine(discs=(5.0, 8.0, 8.0, 8.0, 8.0), angle=INCLINED - 5)
    truth, mask = spine.numbers(), spine.mask()
    _, back = spine.local()
    mask[(truth == 201) & (np.abs(back) > 7)] = BACKGROUND
    levels = number_levels(mask, MM)
    assert levels.names[225] == "S1-S2"
    assert levels.names[25] == "S1"
    assert (levels.numbers[truth == 2] == 1).all()
    assert any("promontory" in warning for warning in levels.warnings)
    assert levels.confidence == "low"
    # The same disc in full length is L5-S1.
    full = number_levels(spine.mask(), MM)
    assert full.names[201] == "L5-S1"
    assert not full.warnings


def test_vertebrae_that_the_image_cuts_are_numbered_from_101():
    mask = DrawnSpine().mask()
    top = np.flatnonzero((mask == VERTEBRAE).any(axis=1))[0]
    levels = number_levels(mask[top + 10 :], MM)
    assert levels.names[105] == "L1"
    assert 5 not in levels.names
    assert not levels.warnings
    cut_off = np.zeros(mask.shape, dtype=bool)
    cut_off[: top + 1] = True
    assert 105 in number_levels(mask, MM, cut_off).names


def test_confidence_is_high_only_for_a_steep_lowest_disc_and_regular_discs():
    assert number_levels(DrawnSpine(angle=INCLINED).mask(), MM).confidence == "high"
    assert number_levels(DrawnSpine().mask(), MM).confidence == "moderate"
    assert number_levels(DrawnSpine(discs=discs_of(3), angle=INCLINED).mask(), MM).confidence == "low"


def test_an_empty_mask_and_one_without_discs_have_levels():
    empty = number_levels(np.zeros((40, 30), np.uint8), MM)
    assert not empty.numbers.any()
    assert empty.names == {}
    assert empty.confidence == "low"
    body = np.zeros((60, 60), np.uint8)
    body[20:45, 15:45] = VERTEBRAE
    assert number_levels(body, MM).names == {1: "L5"}


def stack_of(shifts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Slices of a spine that lean sideways: each is moved down by some rows."""
    spine = DrawnSpine()
    arrays = [
        [np.roll(array, shift, axis=0) for shift in shifts] for array in (spine.mask(), spine.numbers())
    ]
    return np.stack(arrays[0]), np.stack(arrays[1])


def test_numbers_follow_the_levels_through_a_stack():
    """Over the whole stack the spine moves by more than half a level, from slice to slice by a quarter."""
    mask, truth = stack_of([0, 8, 16, 24])
    mask[0][truth[0] == 201] = BACKGROUND  # the slice at the side has no L5-S1
    mask[0][truth[0] == 1] = BACKGROUND
    truth[0][np.isin(truth[0], (1, 201))] = 0
    levels = number_levels(mask, MM)
    assert share_right(levels.numbers, truth) > 0.99


@pytest.mark.parametrize(
    ("label", "column"), [(VERTEBRAE, 8), (IVD, 8), (SPINAL_CANAL, 8), (SPINAL_CANAL, 280), (VERTEBRAE, 290)]
)
@pytest.mark.parametrize("row", [40, 90, 130])
def test_parts_outside_of_the_spine_have_no_number(label, column, row):
    mask = np.pad(DrawnSpine().mask(), ((0, 0), (40, 40)))
    before = number_levels(mask, MM)
    with_part = mask.copy()
    inside = np.s_[row : row + 8, column : column + 6]
    assert not with_part[inside].any()
    with_part[inside] = label
    levels = number_levels(with_part, MM)
    assert np.array_equal(levels.numbers, before.numbers)
    assert levels.names == before.names


def test_the_order_of_slices_does_not_change_numbers():
    mask, _ = stack_of([0, 8, 16, 24])
    numbers = number_levels(mask, MM).numbers
    assert np.array_equal(number_levels(mask[::-1], MM).numbers[::-1], numbers)
    assert np.array_equal(number_levels(mask[2], MM).numbers, numbers[2])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_every_part_above_a_speck_has_one_number_and_specks_have_none(data):
    """Whatever is drawn over a spine: numbers are of the class, only specks and outside parts have none."""
    mask = DrawnSpine(angle=data.draw(st.integers(-20, 20))).mask((2.0, 2.0))
    for _ in range(data.draw(st.integers(0, 6))):
        top, left = (data.draw(st.integers(0, size - 1)) for size in mask.shape)
        height, width = (data.draw(st.integers(1, 14)) for _ in range(2))
        label = data.draw(st.sampled_from([BACKGROUND, SPINAL_CANAL, VERTEBRAE, IVD]))
        mask[top : top + height, left : left + width] = label
    numbers = number_levels(mask, (2.0, 2.0)).numbers
    mask = without_outside_parts(mask, (2.0, 2.0), SPECK_MM2)
    assert np.array_equal(numbers == 100, mask == SPINAL_CANAL)
    assert not numbers[mask == BACKGROUND].any()
    for label, low, high in ((VERTEBRAE, 1, 199), (IVD, 201, 225)):
        parts, count = ndimage.label(mask == label)
        areas = np.bincount(parts.ravel(), minlength=count + 1) * 4.0
        large = (areas >= SPECK_MM2)[parts] & (parts > 0)
        assert ((numbers[large] >= low) & (numbers[large] <= high)).all()
        assert not numbers[(parts > 0) & ~large].any()


def test_levels_hold_the_shape_of_the_mask():
    mask = DrawnSpine().mask()
    levels = number_levels(mask, MM)
    assert isinstance(levels, Levels)
    assert levels.numbers.shape == mask.shape
    assert levels.numbers.dtype == np.uint8
    assert number_levels(mask[None], MM).numbers.shape == (1, *mask.shape)
