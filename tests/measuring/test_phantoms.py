"""Measured sizes of made-up spines against the sizes that they were made with."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from nnunetv2_spinesegdiff.labels import SPIDER_DISCS
from nnunetv2_spinesegdiff.segmentation.measuring import remarks
from nnunetv2_spinesegdiff.segmentation.measuring.found import Found, find
from nnunetv2_spinesegdiff.segmentation.measuring.measure import measure_slice
from nnunetv2_spinesegdiff.segmentation.measuring.parts import Part

from .phantom_truth import Series, body_heights, canal_widths, disc_height, disc_length, series_of

PATIENTS = [
    *((1, number) for number in range(1, 8)),
    *((3, number) for number in (3, 4, 6, 8, 9, 11)),
    (2, 5),
    (4, 6),
]
MM = (1.0, 1.0)


@cache
def cases() -> list[tuple[Series, list[dict], Found]]:
    found = []
    for patient in PATIENTS:
        for series in series_of(*patient):
            found.append((series, measure_slice(series.mask, series.image, MM), find(series.mask, MM)))
    return found


@cache
def own_rows() -> list[tuple[Series, list[dict]]]:
    """The same in the scans' own pixels, which are smaller."""
    return [
        (series, measure_slice(series.own_mask, np.ones(series.own_mask.shape), series.own_spacing))
        for series, _, _ in cases()
    ]


def rows_of(rows: list[dict], structure: str) -> list[dict]:
    return [row for row in rows if row["structure"] == structure and row["number"]]


def measured(structure: str, column: str) -> list[tuple[Series, int, float]]:
    """(series, level from 0, value) of every disc or vertebra that has a value."""
    return [
        (series, row["number"] - 1, row[column])
        for series, rows, _ in cases()
        for row in rows_of(rows, structure)
        if row[column] is not None
    ]


def test_the_cases_are_many_and_hold_what_is_difficult():
    series = [series for series, _, _ in cases()]
    discs = [disc for one in series for disc in one.patient.anatomy.discs[: one.patient.anatomy.num_discs]]
    assert len(series) >= 30
    assert {one.acquisition.sequence for one in series} == {"t1", "t2", "t2_SPACE"}
    assert len({one.acquisition.protocol for one in series}) >= 5
    assert max(one.acquisition.misalignment_deg for one in series) > 8
    assert min(disc.height for disc in discs) < 3
    assert sum(disc.hernia > 4 for disc in discs) >= 5
    assert sum(abs(disc.slip) > 4 for disc in discs) >= 4


def _number(part: Part, numbers: np.ndarray) -> int:
    return int(np.bincount(numbers[part.shape.inside]).argmax())


def test_discs_and_vertebrae_are_all_found_and_counted_from_below():
    for series, rows, found in cases():
        discs = [_number(disc, series.numbers) for disc in found.discs]
        there = np.intersect1d(series.numbers, SPIDER_DISCS).tolist()
        assert discs == there == list(range(201, 201 + len(discs))), series.name
        # Partly visible vertebrae have 100 more.
        bodies = [_number(body, series.numbers) % 100 for body in found.bodies]
        assert bodies == list(range(1, 1 + len(bodies))), series.name
        assert len(bodies) >= series.patient.anatomy.visible
        assert len(rows_of(rows, "ivd")) == len(discs)
        assert len(rows_of(rows, "vertebrae")) == len(bodies)


def test_heights_are_left_out_at_the_edges_only():
    for series, rows, _ in cases():
        for structure in ("ivd", "vertebrae"):
            *lower, top = rows_of(rows, structure)
            assert all(row["height_mm"] is not None for row in lower), series.name
            assert (top["height_mm"] is None) == (top["remark"] == remarks.EDGE)
        anatomy, vertebrae = series.patient.anatomy, rows_of(rows, "vertebrae")
        if anatomy.partial and len(vertebrae) == anatomy.num_vertebrae:
            assert vertebrae[-1]["height_mm"] is None


def values(pixels: str, column: str) -> list[tuple[Series, int, float]]:
    """As `measured` for discs, in pixels of "1 mm" or the scans' "own"."""
    rows = [(series, rows) for series, rows, _ in cases()] if pixels == "1 mm" else own_rows()
    return [
        (series, row["number"] - 1, row[column])
        for series, its_rows in rows
        for row in rows_of(its_rows, "ivd")
        if row[column] is not None
    ]


# At 1 mm a mask's own steps come on top, half a pixel on either side.
@pytest.mark.parametrize(("pixels", "most", "mean"), [("own", 0.75, 0.25), ("1 mm", 1.25, 0.3)])
def test_disc_heights_are_right(pixels, most, mean):
    errors = np.array(
        [value - disc_height(series, level) for series, level, value in values(pixels, "height_mm")]
    )
    assert len(errors) > 200
    assert np.abs(errors).max() < most
    assert np.abs(errors).mean() < mean
    assert abs(errors.mean()) < 0.2


def test_disc_lengths_are_right():
    errors = []
    for series, level, value in measured("ivd", "width_mm"):
        disc = series.patient.anatomy.discs[level]
        # Slices turned by more cut a disc slantwise, and a collapsed disc comes apart in the mask.
        if series.acquisition.misalignment_deg < 5 and not disc.hernia and disc.height > 4:
            errors.append(value - disc_length(series, level))
    assert len(errors) > 130
    assert np.abs(errors).max() < 1.6
    assert np.abs(errors).mean() < 0.5


def test_vertebral_heights_are_right():
    errors, ends = [], []
    for series, rows, _ in cases():
        for level, row in enumerate(rows_of(rows, "vertebrae")):
            if row["height_mm"] is not None:
                true = body_heights(series, level)
                errors.append(row["height_mm"] - true.mean())
                ends.append(row["anterior_height_mm"] - true[:6].mean())
                ends.append(row["posterior_height_mm"] - true[-6:].mean())
    assert len(errors) > 180
    assert np.abs(errors).max() < 1
    assert np.abs(errors).mean() < 0.3
    # A body's walls are hollow, its corners round and dented: where its ends are is less certain.
    assert np.abs(ends).max() < 2.5
    assert np.abs(ends).mean() < 0.6


@pytest.mark.parametrize(("pixels", "most", "mean"), [("own", 0.75, 0.2), ("1 mm", 1.5, 0.35)])
def test_canal_widths_are_right(pixels, most, mean):
    sure, unsure = [], 0
    for series, level, value in values(pixels, "canal_width_mm"):
        near = canal_widths(series, level, within=3.0)
        if np.ptp(near) < 1:
            sure.append(value - near[len(near) // 2])
        else:
            # Beside a bulge the width changes by the millimetre, and the disc's level is known to 3 mm.
            unsure += 1
            assert near.min() - 1 < value < near.max() + 1, (series.name, level, value, near)
    assert len(sure) > 150
    assert unsure > 20
    assert np.abs(sure).max() < most
    assert np.abs(sure).mean() < mean


@pytest.mark.parametrize(("pixels", "most", "mean"), [("own", 1.0, 0.25), ("1 mm", 1.5, 0.4)])
def test_the_narrowest_widths_are_right(pixels, most, mean):
    """Beside hernias and slips, too, where the width changes by millimetres within a few millimetres."""
    found = [
        (value - near.min(), np.ptp(near))
        for series, level, value in values(pixels, "canal_narrowest_mm")
        for near in [canal_widths(series, level, within=8.0)]
    ]
    errors, changes = np.array(found).T
    assert len(errors) > 200
    assert (changes > 1).sum() > 60
    assert np.abs(errors).max() < most
    assert np.abs(errors).mean() < mean


def test_herniations_do_not_make_a_disc_higher():
    """The same spines without bulges and herniations: all else about them is the same."""
    changes = []
    for number in (1, 2, 3, 5, 6, 7):
        bulged, flat = series_of(1, number, most=1), series_of(1, number, flat=True, most=1)
        for one, other in zip(bulged, flat, strict=True):
            rows = [rows_of(measure_slice(series.mask, series.image, MM), "ivd") for series in (one, other)]
            for disc, with_it, without in zip(one.patient.anatomy.discs, *rows, strict=False):
                if max(disc.hernia, disc.bulge) > 2 and with_it["height_mm"] and without["height_mm"]:
                    changes.append(with_it["height_mm"] - without["height_mm"])
                    assert with_it["width_mm"] > without["width_mm"]
    assert len(changes) > 10
    assert np.abs(changes).max() < 0.8
    assert np.abs(changes).mean() < 0.2


def test_the_signal_falls_with_degeneration():
    """On T2w images, as the phantom draws discs of every Pfirrmann grade."""
    grades: dict[int, list[float]] = {grade: [] for grade in range(1, 6)}
    for series, level, value in measured("ivd", "signal_relative_to_csf"):
        if series.acquisition.sequence == "t2":
            grades[series.patient.anatomy.discs[level].grading.pfirrmann].append(value)
    means = [np.mean(values) for values in grades.values()]
    assert min(len(values) for values in grades.values()) >= 3
    assert (np.diff(means) < 0).all()
    assert 0 < means[-1] < means[0] < 1


def test_a_mask_agrees_with_itself():
    for series, _, _ in cases()[:6]:
        rows = measure_slice(series.mask, series.image, MM, stage1=series.mask)
        assert {row["agreement"] for row in rows} == {1.0}
