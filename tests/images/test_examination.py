"""Every image that cannot be segmented is refused by name, and what a reader should know is told."""

from __future__ import annotations

import re
from contextlib import nullcontext

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.images.examination import check_sizes, examine, shear_deg, slice_plane
from nnunetv2_spinesegdiff.images.grid import Grid
from nnunetv2_spinesegdiff.images.scan import Refusal

from ..helpers.scan_files import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    SIZE,
    nearest_rotation,
    scan,
    values,
    with_values,
    write,
    write_series,
)
from ..helpers.spider_series import rotation


def sheared_image(degrees: float) -> sitk.Image:
    image = scan()
    cosines = SAGITTAL.copy()
    angle = np.radians(degrees)
    cosines[:, 0] = np.cos(angle) * SAGITTAL[:, 0] + np.sin(angle) * SAGITTAL[:, 1]
    image.SetDirection(cosines.ravel().tolist())
    return image


def replaced(value: float, count: int) -> sitk.Image:
    array = values(scan()).astype(np.float32)
    array.ravel()[:count] = value
    return with_values(array)


def skewed() -> sitk.Image:
    """Mostly dark, as scans are."""
    return sitk.Cast(scan(), sitk.sitkFloat32) ** 2


def few_bright_voxels() -> np.ndarray:
    array = np.zeros(np.prod(SIZE), np.int16)
    array[:100] = np.arange(1, 101)
    return array.reshape(SIZE[::-1])


def labelled(*labels: float, dtype: str = "u1") -> sitk.Image:
    """These values in turn, each of them somewhere."""
    array = np.resize(np.repeat(labels, 7), SIZE[::-1])
    return with_values(array.astype(dtype))


REFUSED = {
    "2D": (lambda: scan()[:, :, 3], "is a 2D picture"),
    "4D": (lambda: sitk.JoinSeries([scan(), scan()]), r"has 4 dimensions \(several volumes\)"),
    "colour": (lambda: sitk.Compose([scan()] * 3), r"has 3 values per voxel"),
    "complex": (
        lambda: sitk.RealAndImaginaryToComplex(*[sitk.Cast(scan(), sitk.sitkFloat32)] * 2),
        "its voxels are complex numbers",
    ),
    "NaN": (lambda: replaced(np.nan, 3), "3 voxels are NaN or infinite"),
    "infinite": (lambda: replaced(-np.inf, 1), "1 voxels are NaN or infinite"),
    "constant": (lambda: scan() * 0 + 4, "all voxels are 4: this is not a scan"),
    "negated": (lambda: skewed() * -1, "look inverted"),
    "little signal": (lambda: with_values(few_bright_voxels()), "98th percentile is 0, there is no signal"),
    "mask": (lambda: labelled(0, 1, 2, 3, 100, 201), r"looks like a mask.* 6 values.*\(0 to 201\); give the"),
    "mask of one label": (lambda: labelled(0, 1), "looks like a mask, not a scan"),
    "mask of floats": (lambda: labelled(*range(32), dtype="f4"), "looks like a mask, not a scan"),
    "sparse mask": (lambda: with_values((few_bright_voxels() == 3).astype("u1")), "looks like a mask"),
    "fine": (
        lambda: scan(spacing=(0.09, 1.8, 4)),
        r"0\.09 mm in plane, outside 0\.1 to 5 mm: are its units mm",
    ),
    "coarse": (lambda: scan(spacing=(1.7, 5.1, 8)), r"5\.1 mm in plane, outside 0\.1 to 5 mm"),
    "far apart": (lambda: scan(spacing=(1.7, 1.8, 20.1)), r"20\.1 mm between slices, outside 0\.1 to 20 mm"),
    "narrow": (
        lambda: scan(size=(58, 64, 7)),
        r"field of view is 99 mm \(58 voxels of 1\.7 mm\), outside 100",
    ),
    "low": (lambda: scan(size=(70, 54, 7)), r"field of view is 97 mm \(54 voxels"),
    "wide": (lambda: scan(size=(355, 64, 7)), r"field of view is 604 mm"),
    "many": (lambda: scan(size=(100, 100, 513), spacing=(1, 1, 1)), "has 513 sagittal slices, at most 512"),
    "axial": (lambda: scan(AXIAL), r"its slices are axial \(4\.4 mm apart\).*sagittal.*--any_plane"),
    "coronal": (lambda: scan(CORONAL), "its slices are coronal"),
    "sheared": (lambda: sheared_image(1.2), r"its axes miss right angles by 1\.2 degrees"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_scan_is_refused(what):
    make, said = REFUSED[what]
    with pytest.raises(Refusal, match=said) as refusal:
        examine(make(), any_plane=False)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("what", ["NaN", "mask", "constant", "axial", "sheared", "narrow", "colour"])
@pytest.mark.parametrize("ending", ["a.mha", "a.nrrd", "a.nii.gz"])
def test_refusals_name_the_file(what, ending, tmp_path, refused):
    # NIfTI has no place for shear: there it is refused by its own header's test.
    if (what, ending) != ("sheared", "a.nii.gz"):
        path = write(REFUSED[what][0](), tmp_path / ending)
        assert re.search(REFUSED[what][1], refused(path))


def test_few_values_that_could_be_a_scans_are_taken():
    """Coarsely stored scans: more values than labels, anywhere, or values that are no whole numbers."""
    assert examine(labelled(*range(33)), any_plane=False) == ()
    assert examine(labelled(*np.linspace(0, 1, 12), dtype="f4"), any_plane=False) == ()
    assert examine(labelled(*np.arange(20) + 0.5, dtype="f8"), any_plane=False) == ()
    image = labelled(*range(32))
    image[1, 0, 0] = 200  # a sample of the voxels misses it
    assert examine(image, any_plane=False) == ()


REFORMATTED = "reformatted from thick {} slices: models are trained on sagittal ones"
WARNED = {
    "one slice": (lambda: scan(size=(70, 64, 1)), "a single sagittal slice"),
    "few slices": (lambda: scan(size=(70, 64, 4)), "only 4 sagittal slices"),
    "oblique": (lambda: scan(rotation((0, 0, 12)) @ SAGITTAL), "oblique by 12 degrees"),
    "sheared": (
        lambda: sheared_image(0.4),
        "miss right angles by 0.40 degrees; they were corrected, which moves voxels by",
    ),
    "axial": (lambda: scan(AXIAL), REFORMATTED.format("axial")),
    "coronal": (lambda: scan(CORONAL), REFORMATTED.format("coronal")),
}


@pytest.mark.parametrize("what", WARNED)
def test_what_a_reader_should_know_is_told(what):
    make, said = WARNED[what]
    (warning,) = examine(make(), any_plane=True)
    assert said in warning


@pytest.mark.parametrize("any_plane", [True, False])
@pytest.mark.parametrize("cosines", [SAGITTAL, AXIAL, CORONAL])
def test_nearly_isotropic_volumes_have_any_plane(cosines, any_plane):
    assert examine(scan(cosines, (70, 64, 66), (1.7, 1.8, 2.4)), any_plane) == ()


@pytest.mark.parametrize("degrees", [0, 5, 9.9])
def test_a_usual_scan_is_left_as_it_is(degrees):
    image = scan(rotation((0, degrees, 0)) @ SAGITTAL)
    direction, before = image.GetDirection(), values(image)
    assert examine(image, any_plane=False) == ()
    assert image.GetDirection() == direction
    assert np.array_equal(values(image), before)


@pytest.mark.parametrize("ending", ["a.mha", "a.nrrd"])
def test_shear_of_a_file_is_put_right(ending, tmp_path, read):
    image = sheared_image(0.6)
    made = read(write(image, tmp_path / ending)).image
    cosines = np.reshape(made.GetDirection(), (3, 3))
    assert np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-9)
    assert np.allclose(cosines, nearest_rotation(np.reshape(image.GetDirection(), (3, 3))), atol=1e-9)
    assert np.array_equal(values(made), values(image))


def grid(size, spacing=(1.0, 1.0, 1.0), cosines=SAGITTAL) -> Grid:
    return Grid(tuple(size), tuple(spacing), (0.0, 0.0, 0.0), tuple(cosines.ravel().tolist()))


MM = st.floats(0.05, 25).map(lambda size: round(size, 3))


@given(st.tuples(MM, MM, MM), st.tuples(*[st.integers(1, 9000)] * 3), st.integers(0, 2), st.booleans())
def test_sizes_are_refused_outside_their_ranges_only(spacing, size, axis, of_300_mm):
    if of_300_mm:
        size = [max(1, round(300 / mm)) for mm in spacing]
    in_plane = [(mm, count) for a, (mm, count) in enumerate(zip(spacing, size, strict=True)) if a != axis]
    fine = 0.1 <= spacing[axis] <= 20
    fine = fine and all(0.1 <= mm <= 5 and 100 <= mm * count <= 600 for mm, count in in_plane)
    with nullcontext() if fine else pytest.raises(Refusal):
        check_sizes(grid(size, spacing), axis)


def test_limits_themselves_are_accepted():
    check_sizes(grid((1000, 120, 1), (0.1, 5, 20)), 2)
    check_sizes(grid((100, 600, 1)), 2)
    image = scan(size=(100, 100, 512), spacing=(1, 1, 1))
    assert examine(image, any_plane=False) == ()


@settings(max_examples=60)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.tuples(*[st.floats(-20, 20)] * 3),
    st.integers(0, 2),
)
def test_the_plane_does_not_depend_on_the_order_of_axes(order, signs, turn, thick):
    """Patient axes x, y and z, one of them thick, in any order, direction and obliquity."""
    spacing = np.array([0.6, 0.6, 0.6])
    spacing[thick] = 4
    cosines = (rotation(turn) * np.array(signs))[:, order]
    expected = ["sagittal", "coronal", "axial"][thick]
    turned = grid((9, 9, 9), spacing[order].tolist(), cosines)
    assert slice_plane(turned) == (order.index(thick), expected)
    size = np.array([9, 9, 9])
    size[thick] = 1
    assert slice_plane(grid(size[order].tolist(), (1, 1.7, 1), cosines))[1] == expected


@pytest.mark.parametrize(
    ("spacing", "axis"), [((1.5, 1, 1), 2), ((1.51, 1, 1), 0), ((2, 1.4, 1.3), 0), ((0.5, 0.8, 0.6), 1)]
)
def test_slices_are_thick_beyond_one_and_a_half_times_the_finest(spacing, axis):
    assert slice_plane(grid((9, 9, 9), spacing))[0] == axis


@given(st.floats(0, 80), st.tuples(*[st.floats(0.5, 9)] * 3), st.tuples(*[st.floats(-90, 90)] * 3))
def test_shear_is_the_worst_angle(degrees, lengths, turn):
    axes = np.eye(3)
    axes[:, 1] = np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), 0
    assert np.isclose(shear_deg(rotation(turn) @ axes * np.array(lengths)), degrees, atol=1e-5)


def test_warnings_of_a_series_and_of_its_voxels_come_together(tmp_path, read):
    made = read(write_series(tmp_path / "exam", scan(size=(70, 64, 3)), Modality="CT"))
    modality, few = made.warnings
    assert modality.startswith("the modality is CT, not MR")
    assert few == "only 3 sagittal slices"
