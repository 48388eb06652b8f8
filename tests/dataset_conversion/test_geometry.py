"""Slices keep the place, orientation and values that the scan has, and come back to it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice, put_back

from nnunetv2_spinesegdiff.images.grid import Grid, obliquity_deg, patient_axes

from ..helpers.spider_series import SLICES_FIRST, SLICES_LAST, rotation, volume, world_positions

FAST = settings(max_examples=15)
# Rounded: ITK's own SVD gives up on denormal cosines, which no header holds.
ANGLE = st.floats(-30, 30).map(lambda degrees: round(degrees, 3))
IN_PLANE_MM = st.floats(0.7, 1.7)


@st.composite
def geometries(draw, in_plane=IN_PLANE_MM, extent_mm=(70, 130)):
    """(cosines, spacing, size, origin) of a sagittal stack in any axis order, flip and obliquity.

    Array axis 0 of the stack is front-back, 1 head-foot, 2 left-right before the axes are shuffled.
    """
    spacing = np.array([draw(in_plane), draw(in_plane), draw(st.floats(3.3, 4.8))])
    size = np.array([int(draw(st.integers(*extent_mm)) / s) for s in spacing[:2]] + [draw(st.integers(3, 9))])
    axes = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    signs = np.array(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    order = list(draw(st.sampled_from(list(permutations(range(3))))))
    cosines = (rotation(draw(st.tuples(ANGLE, ANGLE, ANGLE))) @ axes * signs)[:, order]
    origin = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return cosines, tuple(spacing[order].tolist()), tuple(size[order].tolist()), origin


def _ramps(geometry) -> list[sitk.Image]:
    """Three volumes whose values are the voxels' own world x, y and z in mm."""
    cosines, spacing, size, origin = geometry
    positions = world_positions(volume(np.zeros(size, np.uint8), cosines, spacing, origin))
    return [volume(positions[..., axis], cosines, spacing, origin) for axis in range(3)]


def _assert_voxels_keep_their_position(geometry, step: int = 1, **kind) -> None:
    # The value of an output voxel states where it was taken from, its own geometry where it claims to lie.
    images = [extract_slice(ramp, **kind).image[::step, ::step, ::step] for ramp in _ramps(geometry)]
    taken_from = np.stack([sitk.GetArrayFromImage(image).T for image in images], axis=-1)
    claimed = world_positions(images[0])
    cosines, spacing, size, origin = geometry
    index = (claimed - np.array(origin)) @ cosines / np.array(spacing)
    # Beyond the outermost voxel centres there is nothing to interpolate between.
    inside = ((index > -1e-4) & (index < np.array(size) - 1 + 1e-4)).all(axis=-1)
    assert inside.sum() > 2000
    assert np.linalg.norm(taken_from - claimed, axis=-1)[inside].max() <= 0.5
    # Further out than half a voxel is padding.
    outside = ((index < -0.51) | (index > np.array(size) - 0.49)).any(axis=-1)
    assert not taken_from[outside].any()


@FAST
@given(geometries(), st.sampled_from(["middle", "all"]))
def test_a_voxel_keeps_its_world_position(geometry, slices):
    _assert_voxels_keep_their_position(geometry, slices=slices)


@settings(max_examples=3)
@given(geometries(extent_mm=(70, 90)))
def test_a_voxel_of_a_3d_case_keeps_its_world_position(geometry):
    _assert_voxels_keep_their_position(geometry, step=2, dim="3d")


@FAST
@given(geometries(in_plane=st.floats(0.4, 1.2), extent_mm=(100, 160)), st.integers(0, 2**32 - 1))
def test_labels_put_back_overlap_the_original_middle_slice(geometry, seed):
    cosines, spacing, size, origin = geometry
    axes, _ = patient_axes(cosines)
    left_right = axes[2]
    # A cylinder of two halves, wide enough that a boundary of half a voxel counts little.
    centre = (np.array(size) - 1) / 2 + np.random.default_rng(seed).uniform(-2, 2, 3)
    offsets = (np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) - centre) * np.array(spacing)
    offsets[..., left_right] = 0
    label = (np.linalg.norm(offsets, axis=-1) < 45).astype(np.uint8)
    label[(label == 1) & (offsets[..., axes[0]] > 0)] = 2
    original = volume(label, cosines, spacing, origin)

    view = extract_slice(original, is_label=True)
    restored = put_back(view.image, view)

    assert Grid.of(restored) == Grid.of(original)
    back = sitk.GetArrayFromImage(restored).T
    # RAS+ counts towards the right; the file may count the other way.
    to_the_left = world_positions(original)[..., 0].mean(tuple(a for a in range(3) if a != left_right))
    index = np.argsort(-to_the_left)
    middle = index[size[left_right] // 2]
    for number in (1, 2):
        a = np.take(label, middle, left_right) == number
        b = np.take(back, middle, left_right) == number
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= 0.98
    assert not np.delete(back, middle, left_right).any()


@settings(max_examples=6)
@given(geometries(extent_mm=(80, 110)), st.sampled_from([("all", "2d"), ("middle", "3d")]))
def test_whole_volumes_put_back_overlap_the_original(geometry, kind):
    cosines, spacing, size, origin = geometry
    offsets = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) - (np.array(size) - 1) / 2
    offsets *= spacing
    offsets[..., patient_axes(cosines)[0][2]] = 0
    label = (np.linalg.norm(offsets, axis=-1) < 30).astype(np.uint8)
    original = volume(label, cosines, spacing, origin)
    view = extract_slice(original, slices=kind[0], dim=kind[1], is_label=True)
    restored = put_back(view.image, view)
    back = sitk.GetArrayFromImage(restored).T
    assert Grid.of(restored) == Grid.of(original)
    assert 2 * (label & back).sum() / (int(label.sum()) + int(back.sum())) >= 0.98


@pytest.mark.parametrize("cosines", [SLICES_FIRST, SLICES_LAST])
def test_the_picture_is_upright_with_the_front_on_the_left(cosines):
    # Voxels darken from head to foot and from front to back; the world is LPS.
    size = tuple(5 if abs(cosines[0, axis]) > 0.9 else 60 for axis in range(3))
    positions = world_positions(volume(np.zeros(size, np.uint8), cosines, (1.0, 1.0, 1.0), (0, 0, 0)))
    image = volume(positions[..., 2] * 10 - positions[..., 1] + 1000, cosines, (1.0, 1.0, 1.0), (0, 0, 0))
    picture = sitk.GetArrayFromImage(extract_slice(image).image)
    assert picture.shape == (1, 320, 320)
    inner = picture[0, 135:185, 135:185]
    assert np.allclose(np.diff(inner, axis=0), -10, atol=1e-3), "rows must run from head to foot"
    assert np.allclose(np.diff(inner, axis=1), -1, atol=1e-3), "columns must run from front to back"


@pytest.mark.parametrize("size", [(64, 64), (65, 63), (319, 320), (381, 400)])
def test_a_volume_at_one_millimetre_keeps_its_values(size):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 1000, (*size, 3)).astype(np.float32)
    view = extract_slice(volume(array, SLICES_LAST, (1, 1, 4), (7, 8, 9)))
    picture = sitk.GetArrayFromImage(view.image)[0].T
    crop = tuple(slice(max(0, (n - 320) // 2), max(0, (n - 320) // 2) + min(n, 320)) for n in size)
    place = tuple(slice(max(0, -((n - 320) // 2)), max(0, -((n - 320) // 2)) + min(n, 320)) for n in size)
    assert np.abs(picture[place] - array[..., 1][crop]).max() < 0.05
    outside = np.ones((320, 320), bool)
    outside[place] = False
    assert not picture[outside].any()


@pytest.mark.parametrize(("count", "index"), [(1, 0), (2, 1), (5, 2), (16, 8)])
@pytest.mark.parametrize("flip", [False, True])
def test_the_middle_slice_is_counted_towards_the_right_whatever_the_file_does(count, index, flip):
    cosines = SLICES_LAST * np.where([False, False, flip], -1, 1)
    array = np.zeros((40, 40, count), np.int16)
    # SLICES_LAST already runs to the right; a flipped stack is stored the other way round.
    array[..., :] = np.arange(count)[::-1] if flip else np.arange(count)
    image = volume(array, cosines, (1, 1, 4), (0, 0, 0))
    for slices, number in (("middle", index), (0, 0), (count - 1, count - 1)):
        view = extract_slice(image, slices=slices, is_label=True)
        assert (view.first_slice, view.num_slices) == (number, 1)
        assert sitk.GetArrayFromImage(view.image).max() == number


@FAST
@given(geometries())
def test_direction_cosines_are_kept_exactly_and_no_slice_is_mixed(geometry):
    cosines, spacing, size, origin = geometry
    view = extract_slice(volume(np.zeros(size, np.uint8), cosines, spacing, origin), slices="all")
    axes, flips = patient_axes(cosines)
    kept = np.array(view.image.GetDirection()).reshape(3, 3)
    assert np.array_equal(kept, cosines[:, list(axes)] * np.where(flips, -1, 1))
    assert view.image.GetSize() == (320, 320, size[axes[2]])
    assert view.image.GetSpacing() == (1.0, 1.0, spacing[axes[2]])
    assert np.linalg.det(kept) == pytest.approx(1)


@given(st.floats(-40, 40))
def test_obliquity_is_the_angle_to_the_left_right_axis(angle):
    for axis in (1, 2):
        degrees = (0.0, angle, 0.0) if axis == 1 else (0.0, 0.0, angle)
        assert obliquity_deg(rotation(degrees) @ SLICES_LAST) == pytest.approx(abs(angle), abs=1e-6)
    # Turning about the left-right axis tilts the head, not the slice.
    assert obliquity_deg(rotation((angle, 0, 0)) @ SLICES_LAST) == pytest.approx(0, abs=1e-6)


def test_a_heatmap_comes_back_smooth_and_outside_is_0():
    geometry = volume(np.zeros((90, 80, 5), np.uint8), SLICES_LAST, (0.6, 0.6, 4), (0, 0, 0))
    view = extract_slice(geometry)
    ramp = np.broadcast_to(np.arange(320, dtype=np.float32), (320, 320))
    back = sitk.GetArrayFromImage(put_back(ramp, view, is_label=False))
    assert back.dtype == np.float32
    assert (back[[0, 1, 3, 4]] == 0).all()
    assert np.allclose(np.diff(back[2], axis=1)[:, 2:-2], 0.6, atol=1e-3)


@pytest.mark.parametrize(
    ("image", "slices", "message"),
    [
        (sitk.Image(8, 8, sitk.sitkUInt8), "middle", "scalar 3D"),
        (sitk.Image([8, 8, 8], sitk.sitkVectorUInt8), "middle", "scalar 3D"),
        (sitk.Image([8, 8, 8], sitk.sitkUInt8), "some", "slices"),
        (sitk.Image([4, 8, 8], sitk.sitkUInt8), -1, r"0 \(leftmost\) to 3"),
        (sitk.Image([4, 8, 8], sitk.sitkUInt8), 4, r"0 \(leftmost\) to 3"),
    ],
)
def test_invalid_volumes_and_slices_are_rejected(image, slices, message):
    with pytest.raises(ValueError, match=message):
        extract_slice(image, slices=slices)


@pytest.mark.parametrize("shape", [(2, 320, 320), (1, 320, 319), (300, 320)])
def test_a_slice_of_another_size_is_rejected(shape):
    view = extract_slice(volume(np.zeros((40, 40, 3), np.uint8), SLICES_LAST, (1, 1, 4), (0, 0, 0)))
    with pytest.raises(ValueError, match="shape"):
        put_back(np.zeros(shape, np.uint8), view)


@given(st.tuples(ANGLE, ANGLE, ANGLE), st.booleans(), st.integers(2, 6))
def test_rounded_axes_become_orthonormal(degrees, mirrored, decimals):
    exact = rotation(degrees) @ SLICES_LAST * (-1 if mirrored else 1)
    rounded = Grid((9, 9, 9), (1, 1, 1), (1, 2, 3), tuple(np.round(exact, decimals).ravel().tolist()))
    righted = rounded.orthonormal()
    assert np.allclose(righted.cosines.T @ righted.cosines, np.eye(3), atol=1e-8)
    assert np.abs(righted.cosines - exact).max() < 2 * 10.0**-decimals
    assert righted.origin == rounded.origin
    assert righted.orthonormal() is righted


@FAST
@given(geometries(), st.integers(0, 2**31))
def test_rounding_in_a_header_changes_no_bit_of_the_slice(geometry, seed):
    """NIfTI keeps 32-bit spacings and quaternions, DICOM decimals: the scan in each is the same slice."""
    cosines, spacing, size, origin = geometry
    spacing = tuple(round(mm, 4) for mm in spacing)
    rng = np.random.default_rng(seed)
    exact = volume(rng.normal(100, 30, size), cosines, spacing, origin)
    rounded = sitk.Image(exact)
    rounded.SetSpacing([float(np.float32(mm)) for mm in spacing])
    rounded.SetOrigin([float(np.float32(mm)) for mm in origin])
    rounded.SetDirection(np.float32(cosines).astype(float).ravel().tolist())
    cut, also = (sitk.GetArrayFromImage(extract_slice(v).image) for v in (exact, rounded))
    assert np.array_equal(cut, also)
