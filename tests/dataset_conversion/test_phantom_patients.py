"""The random side of the phantom: cohorts are drawn without rendering anything."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2_spinesegdiff.dataset_conversion.phantom.patient import Patient, draw_patient
from nnunetv2_spinesegdiff.dataset_conversion.phantom.tables import (
    GRADING_COLUMNS,
    OVERVIEW_COLUMNS,
    grading_rows,
    overview_row,
)

from ..helpers.spider_series import SHARED_DATA


@pytest.fixture(scope="module")
def cohort() -> list[Patient]:
    return [draw_patient(0, number) for number in range(1, 219)]


def _share(cohort: list[Patient], column: str) -> float:
    return float(np.mean([any(row[column] for row in grading_rows(patient)) for patient in cohort]))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("Spondylolisthesis", 0.19),
        ("Disc herniation", 0.33),
        ("Modic", 0.68),
        ("UP endplate", 0.74),
        ("Disc narrowing", 0.89),
        ("Disc bulging", 0.92),
    ],
)
def test_findings_are_about_as_frequent_as_in_spider(cohort, column, expected):
    assert _share(cohort, column) == pytest.approx(expected, abs=0.12)


def test_every_pfirrmann_grade_occurs(cohort):
    grades = Counter(row["Pfirrman grade"] for patient in cohort for row in grading_rows(patient))
    assert set(grades) == {1, 2, 3, 4, 5}
    assert min(grades.values()) > 0.05 * sum(grades.values())


def test_spondylolisthesis_shifts_the_vertebra_above_forward(cohort):
    for patient in cohort:
        for disc, vertebra in zip(patient.spine.discs, patient.spine.vertebrae, strict=True):
            # Where the vertebra's lower endplate lies, seen from the disc: forward by half the slip.
            low = vertebra.frame.at(0, -vertebra.shape.height / 2)
            forward, _ = disc.frame.local(np.float32(low[0]), np.float32(low[1]))
            assert forward == pytest.approx(disc.shape.slip / 2, abs=0.01)
            assert (disc.shape.slip > 4) == disc.shape.grading.slip


def test_series_come_in_spiders_shares(cohort):
    series = [tuple(a.sequence for a in patient.acquisitions) for patient in cohort]
    count = Counter(name for names in series for name in names)
    assert count["t1"] == pytest.approx(196, abs=20)
    assert count["t2"] == pytest.approx(210, abs=20)
    assert count["t2_SPACE"] == pytest.approx(41, abs=25)
    assert all(names for names in series)


def test_geometry_varies_within_40_patients(cohort):
    acquisitions = [a for patient in cohort[:40] for a in patient.acquisitions]
    steps = {round(a.protocol.slice_step, 1) for a in acquisitions}
    pixels = {round(a.voxels.pixel, 2) for a in acquisitions}
    assert steps >= {3.3, 4.4, 4.8, 1.0}
    assert len(pixels) >= 5
    assert min(pixels) > 0.3
    assert max(pixels) < 1.0
    assert len({a.axis_order for a in acquisitions}) == 2
    assert len({a.flips for a in acquisitions}) >= 4
    assert len({tuple(a.pose.offset) for a in acquisitions}) == 40
    thick = [a.lattice.shape[0] for a in acquisitions if a.protocol.slice_step > 2]
    assert min(thick) >= 11
    assert max(thick) <= 17


def test_a_few_series_are_oblique_and_half_of_them_are_turned_against_the_anatomy(cohort):
    series = [a for patient in cohort for a in patient.acquisitions]
    oblique = [a for a in series if a.obliquity_deg > 8]
    assert 0.04 < len(oblique) / len(series) < 0.13
    assert max(a.obliquity_deg for a in series) < 26
    turned = np.array([a.misalignment_deg for a in oblique])
    assert 0.3 < np.mean(turned > 7) < 0.7
    # The others lie askew together with the patient.
    assert np.all((turned > 7) | (turned < 5))
    siemens = [patient.acquisitions[0].scanner.manufacturer == "SIEMENS" for patient in cohort]
    assert np.mean(siemens) == pytest.approx(0.5, abs=0.1)
    counts = [patient.anatomy.num_vertebrae for patient in cohort]
    for count, share in ((6, 0.34), (7, 0.40), (8, 0.22), (9, 0.04)):
        assert counts.count(count) / len(counts) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("number", range(1, 21, 3))
def test_the_file_states_where_every_voxel_lies(cohort, number):
    for acquisition in cohort[number - 1].acquisitions:
        grid = acquisition.file_grid()
        np.testing.assert_allclose(grid.cosines.T @ grid.cosines, np.eye(3), atol=1e-9)
        # SimpleITK's axes run the other way round.
        normal = grid.cosines[:, 2 - acquisition.axis_order.index(0)]
        angle = np.degrees(np.arccos(abs(normal[0])))
        assert angle == pytest.approx(acquisition.obliquity_deg, abs=1e-4)
        lattice, pose = acquisition.voxels, acquisition.pose
        last = np.array(lattice.shape) - 1
        for at in (np.zeros(3, int), last // 3, last):
            world = pose.offset + pose.rotation @ (lattice.origin + at @ lattice.steps)
            # Mark the voxel, bring it into the file's axes and look where it came out.
            marked = np.zeros(lattice.shape, bool)
            marked[tuple(at)] = True
            found = np.argwhere(acquisition.to_file_axes(marked))[0][::-1]
            np.testing.assert_allclose(grid.position(found), world, atol=1e-6)


@given(seed=st.integers(0, 2**31), number=st.integers(1, 10_000))
@settings(max_examples=40, deadline=None)
def test_discs_lie_between_their_vertebrae_and_the_canal_behind(seed, number):
    spine = draw_patient(seed, number).spine
    heights = [-5.0]
    for disc, vertebra in zip(spine.discs, spine.vertebrae, strict=True):
        heights += [disc.frame.z, vertebra.frame.z]
        for part in (disc, vertebra):
            z = np.array([part.frame.z], np.float32)
            assert spine.front(z) < part.frame.y < spine.canal(z) < spine.back(z)
    assert heights == sorted(heights)


def test_rows_have_spiders_columns_and_counts(cohort):
    for patient in cohort[:50]:
        gradings = grading_rows(patient)
        assert [row["IVD label"] for row in gradings] == list(range(1, patient.anatomy.num_discs + 1))
        for acquisition in patient.acquisitions:
            row = overview_row(patient, acquisition)
            assert set(row) <= set(OVERVIEW_COLUMNS)
            assert row["num_discs"] == len(gradings)
            assert 6 <= row["num_vertebrae"] <= 9


@pytest.mark.skipif(not (SHARED_DATA / "spider_tables").is_dir(), reason="SPIDER's tables are not here")
def test_columns_are_those_of_the_real_tables():
    for name, columns in (("overview.csv", OVERVIEW_COLUMNS), ("radiological_gradings.csv", GRADING_COLUMNS)):
        header = (SHARED_DATA / "spider_tables" / name).read_text(encoding="utf-8-sig").splitlines()[0]
        assert tuple(header.split(",")) == columns
