"""Measured sizes of synthetic spines against the sizes that they were made with."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_spinesegdiff.labels import SPIDER_DISCS
from nnunetv2_spinesegdiff.segmentation.measuring import remarks
from nnunetv2_spinesegdiff.segmentation.measuring.found import Found, find
from nnunetv2_spinesegdiff.segmentation.measuring.measure import measure_slice
from nnunetv2_spinesegdiff.segmentation.measuring.parts import Part

from ...helpers.drawn_spine import MM, rows_of
from ...helpers.phantom_truth import Series, body_heights, canal_widths, disc_height, disc_length, series_of

FEW = [(1, 2), (1, 3), (3, 11)]
ALL = [
    *((1, number) for number in range(1, 8)),
    *((3, number) for number in (3, 4, 6, 8, 9, 11)),
    (2, 5),
    (4, 6),
]
Case = tuple[Series, list[dict], Found]


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.slow)])
def patients(request) -> list[tuple[int, int]]:
    return {"few": FEW, "all": ALL}[request.param]


@pytest.fixture(scope="module")
def share(patients) -> float:
    """Of the values that all patients have, the least that these have."""
    return 0.8 * len(patients) / len(ALL) if len(patients) < len(ALL) else 1.0


@pytest.fixture(scope="module")
def cases(patients) -> list[Case]:
    series = [one for patient in patients for one in series_of(*patient)]
    return [(one, measure_slice(one.mask, one.image, MM), find(one.mask, MM)) for one in series]


@pytest.fixture(scope="module")
def discs(cases):
    """Gives (series, level from 0, value) of every disc with a value, in pixels of 1 mm or the scans' own."""
    own = [
        (one, measure_slice(one.own_mask, np.ones(one.own_mask.shape), one.own_spacing))
        for one, _, _ in cases
    ]
    sets = {"1 mm": [(one, rows) for one, rows, _ in cases], "own": own}

    def values(column: str, pixels: str = "1 mm") -> list[tuple[Series, int, float]]:
        return [
            (one, row["number"] - 1, row[column])
            for one, rows in sets[pixels]
            for row in rows_of(rows, "ivd")
            if row[column] is not None
        ]

    return values


def test_the_cases_hold_what_is_difficult(cases, share):
    series = [one for one, _, _ in cases]
    anatomies = [one.patient.anatomy for one in series]
    drawn = [disc for anatomy in anatomies for disc in anatomy.discs[: anatomy.num_discs]]
    assert len(series) >= 30 * share
    assert {"t1", "t2"} <= {one.acquisition.sequence for one in series}
    assert min(disc.height for disc in drawn) < 4
    assert sum(disc.hernia > 4 for disc in drawn) >= 5 * share
    if share == 1:
        assert "t2_SPACE" in {one.acquisition.sequence for one in series}
        assert len({one.acquisition.protocol for one in series}) >= 5
        assert max(one.acquisition.misalignment_deg for one in series) > 8
        assert sum(abs(disc.slip) > 4 for disc in drawn) >= 4


def _number(part: Part, numbers: np.ndarray) -> int:
    return int(np.bincount(numbers[part.shape.inside]).argmax())


def test_discs_and_vertebrae_are_all_found_and_counted_from_below(cases):
    for series, rows, found in cases:
        discs = [_number(disc, series.numbers) for disc in found.discs]
        there = np.intersect1d(series.numbers, SPIDER_DISCS).tolist()
        assert discs == there == list(range(201, 201 + len(discs))), series.name
        # Partly visible vertebrae have 100 more.
        bodies = [_number(body, series.numbers) % 100 for body in found.bodies]
        assert bodies == list(range(1, 1 + len(bodies))), series.name
        assert len(bodies) >= series.patient.anatomy.visible
        assert len(rows_of(rows, "ivd")) == len(discs)
        assert len(rows_of(rows, "vertebrae")) == len(bodies)
        for structure in ("ivd", "vertebrae"):
            *lower, top = rows_of(rows, structure)
            assert all(row["height_mm"] is not None for row in lower), series.name
            assert (top["height_mm"] is None) == (top["remark"] == remarks.EDGE)


# At 1 mm a mask's own steps come on top, half a pixel on either side.
@pytest.mark.parametrize(("pixels", "most", "mean"), [("own", 0.75, 0.25), ("1 mm", 1.25, 0.3)])
def test_disc_heights_are_right(discs, share, pixels, most, mean):
    errors = np.array(
        [value - disc_height(series, level) for series, level, value in discs("height_mm", pixels)]
    )
    assert len(errors) > 200 * share
    assert np.abs(errors).max() < most
    assert np.abs(errors).mean() < mean
    assert abs(errors.mean()) < (0.2 if share == 1 else 0.3)


def test_disc_lengths_are_right(discs, share):
    errors = []
    for series, level, value in discs("width_mm"):
        disc = series.patient.anatomy.discs[level]
        # Slices turned by more cut a disc slantwise, and a collapsed disc comes apart in the mask.
        if series.acquisition.misalignment_deg < 5 and not disc.hernia and disc.height > 4:
            errors.append(value - disc_length(series, level))
    assert len(errors) > 130 * share
    assert np.abs(errors).max() < 1.6
    assert np.abs(errors).mean() < 0.5


def test_vertebral_heights_are_right(cases, share):
    errors, ends = [], []
    for series, rows, _ in cases:
        for level, row in enumerate(rows_of(rows, "vertebrae")):
            if row["height_mm"] is not None:
                true = body_heights(series, level)
                errors.append(row["height_mm"] - true.mean())
                ends.append(row["anterior_height_mm"] - true[:6].mean())
                ends.append(row["posterior_height_mm"] - true[-6:].mean())
    assert len(errors) > 180 * share
    assert np.abs(errors).max() < 1
    assert np.abs(errors).mean() < 0.3
    # A body's walls are hollow, its corners round and dented: where its ends are is less certain.
    assert np.abs(ends).max() < 2.5
    assert np.abs(ends).mean() < 0.6


@pytest.mark.parametrize(("pixels", "most", "mean"), [("own", 0.75, 0.2), ("1 mm", 1.5, 0.35)])
def test_canal_widths_are_right(discs, share, pixels, most, mean):
    sure, unsure = [], 0
    for series, level, value in discs("canal_width_mm", pixels):
        near = canal_widths(series, level, within=3.0)
        if np.ptp(near) < 1:
            sure.append(value - near[len(near) // 2])
        else:
            # Beside a bulge the width changes by the millimetre, and the disc's level is known to 3 mm.
            unsure += 1
            assert near.min() - 1 < value < near.max() + 1, (series.name, level, value, near)
    assert len(sure) > 150 * share
    assert unsure > 20 * share
    assert np.abs(sure).max() < most
    assert np.abs(sure).mean() < mean


@pytest.mark.parametrize(("pixels", "most", "mean"), [("own", 1.0, 0.25), ("1 mm", 1.5, 0.4)])
def test_the_narrowest_widths_are_right(discs, share, pixels, most, mean):
    """Beside hernias and slips, too, where the width changes by millimetres within a few millimetres."""
    found = [
        (value - near.min(), np.ptp(near))
        for series, level, value in discs("canal_narrowest_mm", pixels)
        for near in [canal_widths(series, level, within=8.0)]
    ]
    errors, changes = np.array(found).T
    assert len(errors) > 200 * share
    assert (changes > 1).sum() > 60 * share
    assert np.abs(errors).max() < most
    assert np.abs(errors).mean() < mean


@pytest.mark.slow
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


def test_the_signal_falls_with_degeneration(discs, share):
    """On T2w images, as the phantom draws discs of every Pfirrmann grade."""
    grades: dict[int, list[float]] = {}
    for series, level, value in discs("signal_relative_to_csf"):
        if series.acquisition.sequence == "t2":
            grades.setdefault(series.patient.anatomy.discs[level].grading.pfirrmann, []).append(value)
    means = [np.mean(grades[grade]) for grade in sorted(grades)]
    if share == 1:
        assert min(len(values) for values in grades.values()) >= 3
        assert (np.diff(means) < 0).all()
    assert len(means) == 5
    assert 0 < means[-1] < means[0] < 1
