"""The rendered side of the phantom, on coarse lattices to be quick."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from nnunetv2_spinesegdiff.dataset_conversion.phantom.acquisition import Acquisition, rotation
from nnunetv2_spinesegdiff.dataset_conversion.phantom.canvas import Lattice
from nnunetv2_spinesegdiff.dataset_conversion.phantom.patient import Patient, draw_patient
from nnunetv2_spinesegdiff.dataset_conversion.phantom.placement import Spine, place
from nnunetv2_spinesegdiff.dataset_conversion.phantom.render import render

PIXEL_MM = 1.5
PATIENTS = (1, 3)


def _coarse(acquisition: Acquisition) -> Acquisition:
    """The same field of view with large pixels, without shading and noise."""
    fine = acquisition.lattice
    factor = PIXEL_MM / fine.pixel
    shape = (fine.shape[0], int(fine.shape[1] / factor), int(fine.shape[2] / factor))
    steps = np.stack([fine.steps[0], fine.steps[1] * factor, fine.steps[2] * factor])
    flat = dataclasses.replace(
        acquisition.quality, noise=0.001, coil=0.0, saturation=0.0, ghost=0.0, shading=(0.0, 0.0, 0.0)
    )
    lattice = Lattice(shape, fine.origin, steps)
    return dataclasses.replace(acquisition, lattice=lattice, zoom=1, quality=flat)


@cache
def _rendered(number: int) -> tuple[Patient, dict[str, tuple[np.ndarray, np.ndarray]]]:
    patient = draw_patient(0, number)
    thick = [a for a in patient.acquisitions if a.sequence != "t2_SPACE"]
    return patient, {a.sequence: render(patient.anatomy, patient.spine, _coarse(a)) for a in thick}


def _volumes(number: int):
    patient, series = _rendered(number)
    return [(patient, sequence, image, mask) for sequence, (image, mask) in series.items()]


@pytest.mark.parametrize("number", PATIENTS)
def test_masks_number_what_the_tables_record(number):
    for patient, _, image, mask in _volumes(number):
        assert image.dtype == np.int16
        assert mask.dtype == np.uint8
        assert image.shape == mask.shape
        anatomy = patient.anatomy
        discs = set(range(201, 201 + anatomy.num_discs))
        vertebrae = set(range(1, anatomy.visible + 1))
        partial = {101 + anatomy.visible} if anatomy.partial else set()
        assert set(np.unique(mask).tolist()) == {0, 100} | discs | vertebrae | partial
        assert len(vertebrae | partial) == anatomy.num_vertebrae


@pytest.mark.parametrize("number", PATIENTS)
def test_discs_lie_between_their_vertebrae_and_the_canal_behind(number):
    for patient, _, _, mask in _volumes(number):
        rows = {n: np.nonzero(mask == n)[1].mean() for n in np.unique(mask)[1:].tolist()}
        bodies = _body_rows(patient, mask)
        for level in range(patient.anatomy.num_discs):
            # Rows run downward.
            above, below = bodies.get(level), bodies.get(level - 1, mask.shape[1])
            if above is not None:
                assert above < rows[201 + level] < below
        order = [bodies[level] for level in sorted(bodies)]
        assert order == sorted(order, reverse=True)
        # At every height of the discs, the canal lies behind them.
        for level in range(patient.anatomy.num_discs):
            at = np.nonzero((mask == 201 + level).any(axis=(0, 2)))[0]
            disc = np.nonzero(mask[:, at] == 201 + level)[2].mean()
            assert np.nonzero(mask[:, at] == 100)[2].mean() > disc


def _body_rows(patient: Patient, mask: np.ndarray) -> dict[int, float]:
    """Mean row of every vertebral body: the part of the label in front of the canal's mean column."""
    found = {}
    for level in range(patient.anatomy.visible):
        _, rows, columns = np.nonzero(mask == level + 1)
        canal = np.nonzero(mask[:, np.unique(rows)] == 100)[2].min()
        inside = columns < canal
        found[level] = rows[inside].mean() if inside.any() else rows.mean()
    return found


def test_a_slip_moves_the_vertebra_in_the_mask():
    patient = draw_patient(0, 3)
    acquisition = _coarse(patient.acquisitions[0])
    fronts = []
    for slip in (0.0, 9.0):
        discs = list(patient.anatomy.discs)
        discs[1] = dataclasses.replace(discs[1], slip=slip)
        anatomy = dataclasses.replace(patient.anatomy, discs=tuple(discs))
        _, mask = render(anatomy, place(anatomy), acquisition)
        fronts.append([np.nonzero(mask == number)[2].mean() for number in (1, 2)])
    below, above = np.subtract(fronts[0], fronts[1]) * PIXEL_MM
    assert abs(below) < 0.5
    assert above == pytest.approx(9.0, abs=2.0)


def _angle_in_mask(acquisition: Acquisition, mask: np.ndarray) -> float:
    """Angle in degrees, seen from above, between the slices and the line from canal to spinous tips."""
    angles = []
    step = np.linalg.norm(acquisition.lattice.steps[0])
    for number in (1, 2, 3, 4):
        slices, rows, columns = np.nonzero(mask == number)
        at_canal = np.isin(np.arange(mask.shape[1]), np.unique(rows))
        canal_slices, _, canal_columns = np.nonzero((mask == 100) & at_canal[:, None])
        tips = columns > columns.max() - 12 / PIXEL_MM
        aside = (slices[tips].mean() - canal_slices.mean()) * step
        behind = (columns[tips].mean() - canal_columns.mean()) * acquisition.lattice.pixel
        angles.append(np.degrees(np.arctan2(aside, behind)))
    return float(np.median(angles))


@pytest.mark.parametrize(
    ("numbers", "fewest"), [((16,), 1), pytest.param(range(1, 40), 3, marks=pytest.mark.slow)]
)
def test_slices_turned_against_the_anatomy_show_it(numbers, fewest):
    found, expected = [], []
    for number in numbers:
        patient = draw_patient(0, number)
        for acquisition in patient.acquisitions:
            if acquisition.sequence != "t2_SPACE" and acquisition.misalignment_deg > 7:
                coarse = _coarse(acquisition)
                _, mask = render(patient.anatomy, patient.spine, coarse)
                found.append(_angle_in_mask(coarse, mask))
                # Backward along the midline, slices change by this much.
                normal = coarse.lattice.steps[0] / np.linalg.norm(coarse.lattice.steps[0])
                expected.append(np.degrees(np.arctan2(normal[1], normal[0])))
    assert len(found) >= fewest
    np.testing.assert_allclose(found, expected, atol=6)


@pytest.mark.parametrize("number", PATIENTS)
def test_fluid_is_brighter_than_marrow_on_t2_and_darker_on_t1(number):
    for _, sequence, image, mask in _volumes(number):
        middle = slice(mask.shape[0] // 2 - 1, mask.shape[0] // 2 + 2)
        fluid = np.median(image[middle][mask[middle] == 100])
        marrow = np.median(image[middle][(mask[middle] > 0) & (mask[middle] < 100)])
        if sequence == "t1":
            assert fluid < 0.75 * marrow
        else:
            assert fluid > 1.5 * marrow


def test_nuclei_darken_with_the_pfirrmann_grade_on_t2():
    healthy: list[float] = []
    collapsed: list[float] = []
    for number in PATIENTS:
        for patient, sequence, image, mask in _volumes(number):
            middle = mask.shape[0] // 2
            marrow = np.median(image[middle][(mask[middle] > 0) & (mask[middle] < 100)])
            for level in range(patient.anatomy.num_discs if sequence == "t2" else 0):
                grade = patient.anatomy.discs[level].grading.pfirrmann
                signal = image[middle][mask[middle] == 201 + level]
                if signal.size and grade != 3:
                    (healthy if grade < 3 else collapsed).append(np.percentile(signal, 75) / marrow)
    assert np.mean(healthy) > 1.5 * np.mean(collapsed)


@pytest.mark.parametrize("number", PATIENTS)
def test_the_sacrum_carries_no_number(number):
    patient, series = _rendered(number)
    upper = patient.spine.sacrum[0]
    for acquisition in patient.acquisitions:
        if acquisition.sequence in series:
            x, y, z = _coarse(acquisition).lattice.points()
            front, up = upper.frame.local(y, z)
            inside = (np.abs(front) < upper.depth_below / 2 - 2) & (np.abs(up) < upper.height / 2 - 3)
            inside = inside & (np.abs(x - patient.spine.sideways(z)) < 10)
            assert inside.any()
            assert not series[acquisition.sequence][1][inside].any()


def _turned(acquisition: Acquisition, spine: Spine, axis: tuple[float, float, float], degrees: float):
    """The series with its slices turned about the middle of the spine."""
    lattice = acquisition.lattice
    turn = rotation(np.array(axis), degrees)
    z = spine.top / 2
    x, y = spine.sideways.mean(0, spine.top), spine.vertebrae[len(spine.vertebrae) // 2].frame.y
    pivot = np.array([x, y, z])
    origin = pivot + turn @ (lattice.origin - pivot)
    return dataclasses.replace(acquisition, lattice=Lattice(lattice.shape, origin, lattice.steps @ turn.T))


@pytest.mark.parametrize(
    ("axis", "degrees"),
    [
        ((0.0, 1.0, 0.0), 6.0),
        ((0.0, 0.0, 1.0), 6.0),
        ((1.0, 0.0, 0.0), 6.0),
        ((1.0, 2.0, -1.0), 6.0),
        ((0.0, 0.0, 1.0), 20.0),
        ((0.0, 0.2, -1.0), 20.0),
    ],
)
def test_slices_may_be_tilted_against_the_patient(axis, degrees):
    patient = draw_patient(0, 3)
    straight = _coarse(patient.acquisitions[-1])
    tilted = _turned(straight, patient.spine, axis, degrees)
    _, mask = render(patient.anatomy, patient.spine, tilted)
    _, expected = render(patient.anatomy, patient.spine, straight)
    # The same voxel sizes sample the same spine: volumes agree, apart from what the edges cut.
    for number in (2, 3, 203, 100):
        assert (mask == number).sum() == pytest.approx((expected == number).sum(), rel=0.12)
