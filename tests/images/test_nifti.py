"""What NIfTI headers say is looked at as it stands, where ITK mends it in silence."""

from __future__ import annotations

import gzip
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm
from nnunetv2_spinesegdiff.images.nifti import read_nifti, save_nifti
from nnunetv2_spinesegdiff.images.writing import write_image

from ..helpers.spider_series import rotation
from .made_up import SAGITTAL, lps_to_ras, scan, values, write, write_nifti

IMAGE = scan(rotation((3, -2, 4)) @ SAGITTAL)
ARRAY = values(IMAGE).T
AFFINE = lps_to_ras(IMAGE)


def sheared(degrees: float) -> np.ndarray:
    """The affine with its first axis turned towards its second one."""
    first, second = (AFFINE[:3, axis] / np.linalg.norm(AFFINE[:3, axis]) for axis in (0, 1))
    turned = AFFINE.copy()
    angle = np.radians(degrees)
    turned[:3, 0] = np.linalg.norm(AFFINE[:3, 0]) * (np.cos(angle) * first + np.sin(angle) * second)
    return turned


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (2, 4)])
def test_either_form_is_enough(codes, tmp_path, read):
    made = read(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=codes))
    assert grids_differ_by_mm(Grid.of(made.image), Grid.of(IMAGE)) < 1e-3
    assert np.array_equal(values(made.image), values(IMAGE))
    assert made.warnings == ()


def test_without_either_form_nothing_tells_left_from_right(tmp_path, refused):
    said = refused(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(0, 0)))
    assert "neither its qform nor its sform is set" in said


@pytest.mark.parametrize("shift", [0.05, 0.5, 0.99, 1.01, 50])
def test_forms_that_disagree_by_more_than_a_millimetre_are_refused(shift, tmp_path, read, refused):
    moved = AFFINE.copy()
    moved[1, 3] += shift
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, moved)
    if shift < 1:
        made = read(path)
        said = (f"its sform and its qform disagree by {shift:.1f} mm; the sform is used",)
        assert made.warnings == (said if shift > 0.1 else ())
        assert grids_differ_by_mm(Grid.of(made.image), Grid.of(IMAGE)) < 1e-3
    else:
        assert f"its sform and its qform disagree by {shift:.1f} mm: remove the wrong" in refused(path)


def test_forms_that_are_mirrored_are_refused(tmp_path, refused):
    """The worst of all disagreements: left becomes right."""
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, np.diag([-1, 1, 1, 1]) @ AFFINE)
    assert "disagree" in refused(path)


def loaded(path: Path) -> Any:
    """By nibabel, whose types say less than what it returns."""
    return nib.load(path)


def with_voxel_size(path: Path, axis: int, size: float) -> Path:
    header = nib.Nifti1Header(path.read_bytes()[:348], check=False)
    header["pixdim"][axis] = size
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    return path


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_negative_voxel_size_is_read_if_the_sform_tells_the_place(axis, tmp_path, read, refused):
    size = -IMAGE.GetSpacing()[axis - 1]
    for codes in ((0, 1), (1, 1)):
        path = with_voxel_size(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=codes), axis, size)
        made = read(path)
        assert grids_differ_by_mm(Grid.of(made.image), Grid.of(IMAGE)) < 1e-3
        assert made.warnings == (
            "a voxel size in its header is negative; voxel positions are taken from the sform",
        )
    path = with_voxel_size(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(1, 0)), axis, size)
    assert f"a voxel size in its header is {size:g} mm" in refused(path)


SCALES = [(0, 0), (0, -1000), (np.nan, 3), (1, 0), (1, -20), (2.5, 0), (0.125, 7)]


@pytest.mark.parametrize(("slope", "intercept"), SCALES)
def test_values_are_scaled_as_nibabel_scales_them(slope, intercept, tmp_path, read):
    """With scl_slope 0, values are not scaled and scl_inter is ignored."""
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, scl_slope=slope, scl_inter=intercept)
    expected = np.asarray(loaded(path).dataobj).T
    assert np.allclose(values(read(path).image), expected, rtol=1e-6)
    if slope in (0, 1) and intercept in (0, -1000):
        assert read(path).image.GetPixelID() == IMAGE.GetPixelID()


@pytest.mark.parametrize("rest", [b"\0" * 512, b"trailing bytes", b"\x1f"])
def test_bytes_behind_the_end_of_a_compressed_image_are_left_out(rest, tmp_path, read):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE)
    half = len(path.read_bytes()) // 2
    members = [gzip.compress(part) for part in (path.read_bytes()[:half], path.read_bytes()[half:])]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(members) + rest)
    made = read(tmp_path / "b.nii.gz")
    assert np.array_equal(values(made.image), values(IMAGE))
    said = ("bytes after the end of the compressed image were ignored",)
    assert made.warnings == (said if rest.strip(b"\0") else ())


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1), (2, 4)])
@pytest.mark.parametrize("unit", [0, 2, 3])
@pytest.mark.parametrize("degrees", [0, 0.03, 0.3])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_is_written_over_a_scan_has_its_geometry_to_the_bit(
    codes, unit, degrees, ending, tmp_path, read
):
    affine = sheared(degrees)
    affine[:3] *= 1000 if unit == 3 else 1
    path = write_nifti(tmp_path / "a.nii", ARRAY, affine, codes=codes, xyzt_units=unit)
    made = read(path)
    mask = made.image > 300
    write_image(mask, tmp_path / f"mask{ending}", made)
    one, other = (loaded(tmp_path / name) for name in ("a.nii", f"mask{ending}"))
    geometry = ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim")
    quaternion = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    for name in (*geometry, *quaternion):
        assert np.array_equal(one.header[name], other.header[name]), name
    assert np.array_equal(one.affine, other.affine)
    assert other.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(other.dataobj).T, values(mask))


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_axes_that_were_put_right_are_written_as_the_scan_has_them(ending, tmp_path, read):
    cosines = np.reshape(IMAGE.GetDirection(), (3, 3)).copy()
    cosines[:, 0] += 5e-4 * cosines[:, 1]
    image = sitk.Image(IMAGE)
    image.SetDirection(cosines.ravel().tolist())
    made = read(write(image, tmp_path / f"a{ending}"))
    assert not np.allclose(made.image.GetDirection(), image.GetDirection(), atol=1e-5)
    write_image(made.image > 300, tmp_path / f"mask{ending}", made)
    again = sitk.ReadImage(str(tmp_path / f"mask{ending}"))
    assert np.allclose(
        again.GetDirection(), sitk.ReadImage(str(tmp_path / f"a{ending}")).GetDirection(), atol=1e-9
    )
    assert np.allclose(again.GetOrigin(), image.GetOrigin(), atol=1e-9)
    assert np.allclose(again.GetSpacing(), image.GetSpacing(), atol=1e-9)


AFFINES = st.tuples(
    *[st.floats(-170, 170)] * 3,
    *[st.floats(0.3, 6)] * 3,
    *[st.floats(-500, 500)] * 3,
    st.sampled_from([1, -1]),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=AFFINES, codes=st.sampled_from([(0, 1), (1, 0), (1, 1), (3, 2)]))
def test_voxels_and_masks_lie_where_nibabel_puts_them(drawn, codes, tmp_path):
    turn, spacing, place, sign = drawn[:3], drawn[3:6], drawn[6:9], drawn[9]
    affine = np.eye(4)
    affine[:3, :3] = rotation(turn) @ np.diag([sign, 1, 1]) * spacing
    affine[:3, 3] = place
    path = write_nifti(tmp_path / "a.nii", ARRAY, affine, codes=codes)
    image, warnings, header = read_nifti(path)
    save_nifti(image, tmp_path / "mask.nii", header)
    corners = np.array(list(product(*((0, n - 1) for n in ARRAY.shape))))
    expected = nib.affines.apply_affine(loaded(path).affine, corners) * [-1, -1, 1]
    assert warnings == ()
    # A float32 quaternion places far corners to some micrometers.
    assert np.allclose(
        [image.TransformIndexToPhysicalPoint(c.tolist()) for c in corners], expected, atol=1e-3
    )
    assert np.array_equal(loaded(tmp_path / "mask.nii").affine, loaded(path).affine)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("size", [0, float("nan"), float("inf")])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_voxel_size_that_is_none_is_refused(codes, size, axis, tmp_path, refused):
    path = with_voxel_size(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=codes), axis, size)
    assert f"a voxel size in its header is {size:g} mm" in refused(path)


def test_voxel_sizes_beside_an_sform_must_be_its_own(tmp_path, refused):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(0, 1), pixdim=[1, 1.7, 1.8, 5, 0, 0, 0, 0])
    assert "its sform and its voxel sizes (pixdim) disagree by 3.6 mm" in refused(path)


@pytest.mark.parametrize("fields", [{"srow_x": [0, 0, 0, 0]}, {"srow_y": [np.nan, 0, 0, 0]}])
def test_an_sform_that_is_no_geometry_is_refused(fields, tmp_path, refused):
    affine = np.diag([1.7, 1.8, 4.4, 1])
    path = write_nifti(tmp_path / "a.nii", ARRAY, affine, codes=(0, 1), **fields)
    assert "orientation matrix" in refused(path)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_third_axis_that_is_not_said_to_be_turned_is_not(first, tmp_path, read):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(1, 0))
    header = nib.Nifti1Header(path.read_bytes()[:348])
    header["pixdim"][0] *= first
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    assert grids_differ_by_mm(Grid.of(read(path).image), Grid.of(sitk.ReadImage(str(path)))) < 1e-4


def test_a_quaternion_that_is_none_is_refused(tmp_path, refused):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(1, 0), quatern_b=3)
    assert "orientation matrix" in refused(path)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000), (3, 0.001), (0, 1), (2, 1)])
def test_other_units_than_mm_are_understood(unit, factor, tmp_path, read):
    affine = AFFINE.copy()
    affine[:3] /= factor
    made = read(write_nifti(tmp_path / "a.nii", ARRAY, affine, xyzt_units=unit))
    assert grids_differ_by_mm(Grid.of(made.image), Grid.of(IMAGE)) < 1e-2


@pytest.mark.parametrize("codes", [(0, 1), (1, 1)])
@pytest.mark.parametrize("degrees", [0.0005, 0.002, 0.005, 0.008, 0.02, 0.3, 0.95, 1.05, 3, 30])
def test_shear_is_put_right_up_to_a_degree(degrees, codes, tmp_path, read, refused):
    """ITK refuses all but the smallest of these, or takes the qform."""
    affine = sheared(degrees)
    path = write_nifti(tmp_path / "a.nii", ARRAY, affine, codes=codes)
    if degrees > 1:
        assert f"miss right angles by {degrees:.1f} degrees" in refused(path)
        return
    made = read(path)
    # The nearest rotation, from an oracle of its own: the square root of the Gram matrix.
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    roots, vectors = np.linalg.eigh(cosines.T @ cosines)
    expected = np.diag([-1, -1, 1]) @ cosines @ (vectors / np.sqrt(roots)) @ vectors.T
    assert np.allclose(np.reshape(made.image.GetDirection(), (3, 3)), expected, atol=1e-4)
    assert np.allclose(made.image.GetOrigin(), IMAGE.GetOrigin(), atol=1e-3)
    assert np.array_equal(values(made.image), values(IMAGE))
    if degrees > 0.01:
        assert f"miss right angles by {degrees:.2f} degrees" in made.warnings[-1]
    else:
        assert made.warnings == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nan_and_infinity_are_counted(dtype, bad, name, tmp_path, refused):
    array = ARRAY.astype(dtype)
    array[3:5, 4, 2] = bad
    path = write_nifti(tmp_path / "a.nii", array, AFFINE)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    assert np.isfinite(values(sitk.ReadImage(str(path)))).all(), "ITK began to see them: simplify"
    assert refused(tmp_path / name) == "2 voxels are NaN or infinite: repair the image"


def test_big_endian_nan_is_seen_and_big_endian_numbers_are_not_taken_for_it(tmp_path, read, refused):
    for bad, name in ((False, "a.nii"), (True, "b.nii")):
        array = ARRAY.astype(">f4")
        array[0, 0, 0] = np.nan if bad else 7
        path = write_nifti(tmp_path / name, array, AFFINE)
        header = nib.Nifti1Header(path.read_bytes()[:348]).as_byteswapped(">")
        path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    assert values(read(tmp_path / "a.nii").image)[0, 0, 0] == 7
    assert "1 voxels are NaN" in refused(tmp_path / "b.nii")


def test_a_scale_that_makes_infinity_is_refused(tmp_path, refused):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, scl_slope=3e38)
    assert "NaN or infinite" in refused(path)


@pytest.mark.parametrize("trailing", [1, 2])
def test_ones_behind_the_third_dimension_mean_nothing(trailing, tmp_path, read):
    array = ARRAY.reshape(*ARRAY.shape, *[1] * trailing)
    path = write_nifti(tmp_path / "a.nii", array, AFFINE)
    assert np.array_equal(values(read(path).image), values(IMAGE))


def test_other_dimensions_are_refused(tmp_path, refused):
    assert "is a 2D picture" in refused(write_nifti(tmp_path / "a.nii", ARRAY[..., 3], AFFINE))
    several = np.stack([ARRAY] * 4, -1).reshape(*ARRAY.shape, 2, 2)
    path = write_nifti(tmp_path / "b.nii", several, AFFINE)
    assert "has 5 dimensions (several volumes)" in refused(path, series="1")


def test_no_nifti_and_other_kinds_of_it_are_refused(tmp_path, refused):
    (tmp_path / "a.nii").write_bytes(b"no NIfTI at all" * 100)
    assert "is not a NIfTI file" in refused(tmp_path / "a.nii")
    nib.save(nib.Nifti2Image(ARRAY, AFFINE), tmp_path / "b.nii")
    assert "is NIfTI-2, which ITK does not read: convert it" in refused(tmp_path / "b.nii")
    path = write_nifti(tmp_path / "c.nii", ARRAY, AFFINE, magic=b"ni1")
    assert "header of a pair" in refused(path)
    path = write_nifti(tmp_path / "d.nii", ARRAY, AFFINE, datatype=0)
    assert "type of its voxels (0) is unknown" in refused(path)
    path = write_nifti(tmp_path / "e.nii", ARRAY, AFFINE, dim=[3, 70, 0, 7, 1, 1, 1, 1])
    assert "has no voxels" in refused(path)


def test_a_plain_file_that_is_named_gz_is_refused(tmp_path, refused):
    write(IMAGE, tmp_path / "a.nii").rename(tmp_path / "a.nii.gz")
    assert "is not a gzip file" in refused(tmp_path / "a.nii.gz")
