"""What NIfTI headers say is looked at as it stands, where ITK mends it in silence."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm
from nnunetv2_spinesegdiff.images.writing import write_image

from ..helpers.independent_readers import read_with_nibabel
from ..helpers.scan_files import SAGITTAL, lps_to_ras, nearest_rotation, scan, values, write, write_nifti
from ..helpers.spider_series import rotation

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


def is_in_place(image: sitk.Image) -> bool:
    return grids_differ_by_mm(Grid.of(image), Grid.of(IMAGE)) < 1e-3


def loaded(path: Path) -> Any:
    """By nibabel, whose types say less than what it returns."""
    return nib.load(path)


def test_without_either_form_nothing_tells_left_from_right(tmp_path, refused):
    said = refused(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(0, 0)))
    assert "neither its qform nor its sform is set" in said


@pytest.mark.parametrize("shift", [0, 0.05, 0.5, 0.99, 1.01, 50])
def test_forms_that_disagree_by_more_than_a_millimetre_are_refused(shift, tmp_path, read, refused):
    moved = AFFINE.copy()
    moved[1, 3] += shift
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, moved)
    said = f"its sform and its qform disagree by {shift:.1f} mm"
    if shift < 1:
        made = read(path)
        assert made.warnings == ((f"{said}; the sform is used",) if shift > 0.1 else ())
        assert is_in_place(made.image)
    else:
        assert f"{said}: remove the wrong" in refused(path)


def test_forms_that_are_mirrored_are_refused(tmp_path, refused):
    """The worst of all disagreements: left becomes right."""
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, np.diag([-1, 1, 1, 1]) @ AFFINE)
    assert "disagree" in refused(path)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_negative_voxel_size_is_read_if_the_sform_tells_the_place(axis, tmp_path, read, refused):
    size = {axis: -IMAGE.GetSpacing()[axis - 1]}
    for codes in ((0, 1), (1, 1)):
        made = read(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=codes, voxel_sizes=size))
        assert is_in_place(made.image)
        negative = "a voxel size in its header is negative"
        assert made.warnings == (f"{negative}; voxel positions are taken from the sform",)
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(1, 0), voxel_sizes=size)
    assert f"a voxel size in its header is {size[axis]:g} mm" in refused(path)


SCALES = [(0, 0), (0, -1000), (np.nan, 3), (np.nan, 0), (1, 0), (1, -20), (2.5, 0), (0.125, 7)]


@pytest.mark.parametrize(("slope", "intercept"), SCALES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_values_are_scaled_as_nibabel_scales_them(slope, intercept, order, name, tmp_path, read):
    """With scl_slope 0, values are not scaled and scl_inter is ignored. ITK does the same but for that."""
    array = ARRAY.astype(f"{order}i2")
    path = write_nifti(tmp_path / name, array, AFFINE, scl_slope=slope, scl_inter=intercept)
    made = read(path).image
    assert np.allclose(values(made).T, np.asarray(loaded(path).dataobj), rtol=1e-6)
    assert is_in_place(made)
    if slope in (0, 1) and intercept in (0, -1000):
        assert made.GetPixelID() == IMAGE.GetPixelID()
    if intercept == 0 or (slope and np.isfinite(slope)):
        assert np.array_equal(values(made), values(sitk.ReadImage(str(path))))


@pytest.mark.parametrize("rest", [b"\0" * 512, b"trailing bytes", b"\x1f"])
def test_bytes_behind_the_end_of_a_compressed_image_are_left_out(rest, tmp_path, read):
    content = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE).read_bytes()
    half = len(content) // 2
    members = [gzip.compress(part) for part in (content[:half], content[half:])]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(members) + rest)
    made = read(tmp_path / "b.nii.gz")
    assert np.array_equal(values(made.image), values(IMAGE))
    said = ("bytes after the end of the compressed image were ignored",)
    assert made.warnings == (said if rest.strip(b"\0") else ())


def test_many_members_of_a_compressed_image_are_read(tmp_path, read):
    """As bgzip writes them; some begin at the end of a block that is read at once."""
    content = write_nifti(tmp_path / "a.nii", np.tile(ARRAY, (1, 1, 24)), AFFINE).read_bytes()
    members = [gzip.compress(content[k : k + 999], 0) for k in range(0, len(content), 999)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(members))
    assert np.array_equal(values(read(tmp_path / "b.nii.gz").image).T, np.tile(ARRAY, (1, 1, 24)))


GEOMETRY = (
    *("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1), (2, 4)])
@pytest.mark.parametrize("unit", [0, 2, 3])
@pytest.mark.parametrize("degrees", [0, 0.03, 0.3])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_is_written_over_a_scan_has_its_geometry_to_the_bit(
    codes, unit, degrees, ending, tmp_path, read
):
    affine = sheared(degrees)
    affine[:3] *= 1000 if unit == 3 else 1
    made = read(write_nifti(tmp_path / "a.nii", ARRAY, affine, codes=codes, xyzt_units=unit))
    mask = made.image > 300
    write_image(mask, tmp_path / f"mask{ending}", made)
    one, other = (loaded(tmp_path / name) for name in ("a.nii", f"mask{ending}"))
    for name in GEOMETRY:
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
    path = write(image, tmp_path / f"a{ending}")
    made = read(path)
    assert not np.allclose(made.image.GetDirection(), image.GetDirection(), atol=1e-5)
    write_image(made.image > 300, tmp_path / f"mask{ending}", made)
    again, stored = (sitk.ReadImage(str(file)) for file in (tmp_path / f"mask{ending}", path))
    assert np.allclose(again.GetDirection(), stored.GetDirection(), atol=1e-9)
    assert np.allclose(again.GetOrigin(), image.GetOrigin(), atol=1e-9)
    assert np.allclose(again.GetSpacing(), image.GetSpacing(), atol=1e-9)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("size", [0, float("nan"), float("inf")])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_voxel_size_that_is_none_is_refused(codes, size, axis, tmp_path, refused):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=codes, voxel_sizes={axis: size})
    assert f"a voxel size in its header is {size:g} mm" in refused(path)


INVALID: dict[str, dict[str, Any]] = {
    "its sform and its voxel sizes (pixdim) disagree by 3.6 mm": {"codes": (0, 1), "voxel_sizes": {3: 5}},
    "orientation matrix": {"codes": (1, 0), "quatern_b": 3},
    "header of a pair": {"magic": b"ni1"},
    "type of its voxels (0) is unknown": {"datatype": 0},
    "has no voxels": {"dim": [3, 70, 0, 7, 1, 1, 1, 1]},
    "NaN or infinite": {"scl_slope": 3e38},
}


@pytest.mark.parametrize("said", INVALID)
def test_invalid_headers_are_refused(said, tmp_path, refused):
    assert said in refused(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, **INVALID[said]))


@pytest.mark.parametrize("fields", [{"srow_x": [0, 0, 0, 0]}, {"srow_y": [np.nan, 0, 0, 0]}])
def test_an_sform_that_is_no_geometry_is_refused(fields, tmp_path, refused):
    path = write_nifti(tmp_path / "a.nii", ARRAY, np.diag([1.7, 1.8, 4.4, 1]), codes=(0, 1), **fields)
    assert "orientation matrix" in refused(path)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_third_axis_that_is_not_said_to_be_turned_is_not(first, tmp_path, read):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, codes=(1, 0))
    sign = nib.Nifti1Header(path.read_bytes()[:348])["pixdim"][0]
    write_nifti(path, ARRAY, AFFINE, codes=(1, 0), voxel_sizes={0: sign * first})
    assert grids_differ_by_mm(Grid.of(read(path).image), Grid.of(sitk.ReadImage(str(path)))) < 1e-4


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
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    expected = np.diag([-1, -1, 1]) @ nearest_rotation(cosines)
    assert np.allclose(np.reshape(made.image.GetDirection(), (3, 3)), expected, atol=1e-4)
    assert np.allclose(made.image.GetOrigin(), IMAGE.GetOrigin(), atol=1e-3)
    assert np.array_equal(values(made.image), values(IMAGE))
    said = [f"miss right angles by {degrees:.2f} degrees"] if degrees > 0.01 else []
    assert [one[9:].partition(";")[0] for one in made.warnings] == said


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nan_and_infinity_are_counted(kind, bad, name, tmp_path, read, refused):
    array = ARRAY.astype(kind)
    assert np.array_equal(values(read(write_nifti(tmp_path / name, array, AFFINE)).image).T, array)
    array[3:5, 4, 2] = bad
    path = write_nifti(tmp_path / name, array, AFFINE)
    assert np.isfinite(values(sitk.ReadImage(str(path)))).all(), "ITK began to see them: simplify"
    assert refused(path) == "2 voxels are NaN or infinite: repair the image"


@pytest.mark.parametrize("trailing", [1, 2])
@pytest.mark.parametrize("series", [None, "7"])
def test_ones_behind_the_third_dimension_mean_nothing(trailing, series, tmp_path, read):
    path = write_nifti(tmp_path / "a.nii", ARRAY.reshape(*ARRAY.shape, *[1] * trailing), AFFINE)
    assert np.array_equal(values(read(path, series=series).image), values(IMAGE))


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
    write(IMAGE, tmp_path / "c.nii").rename(tmp_path / "c.nii.gz")
    assert "is not a gzip file" in refused(tmp_path / "c.nii.gz")


ECHOES = np.stack([ARRAY, values(scan(seed=1)).T, values(scan(seed=2)).T], axis=-1)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("scale", [(1, 0), (0.5, 7)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_one_of_several_volumes_is_chosen_by_its_number(number, scale, name, tmp_path, read):
    path = write_nifti(tmp_path / name, ECHOES, AFFINE, scl_slope=scale[0], scl_inter=scale[1])
    made = read(path, series=str(number))
    assert np.array_equal(values(made.image).T, np.asarray(loaded(path).dataobj)[..., number - 1])
    assert np.array_equal(values(made.image).T, ECHOES[..., number - 1] * scale[0] + scale[1])


def test_the_mask_over_one_of_several_volumes_has_three_dimensions(tmp_path, read):
    made = read(write_nifti(tmp_path / "a.nii", ECHOES, AFFINE), series="2")
    mask = sitk.Cast(made.image > 400, sitk.sitkUInt8)
    write_image(mask, tmp_path / "mask.nii.gz", made)
    written = read_with_nibabel(tmp_path / "mask.nii.gz")
    assert np.array_equal(written.values, ECHOES[..., 1] > 400)
    assert np.allclose(written.firsts[0], IMAGE.GetOrigin(), atol=1e-4)
    assert np.allclose(written.spacing, IMAGE.GetSpacing(), atol=1e-6)


@pytest.mark.parametrize("series", [None, "0", "4", "-1", "TE80", "2.0", ""])
def test_without_a_number_of_one_of_them_the_file_is_rejected(series, tmp_path, refused):
    said = refused(write_nifti(tmp_path / "a.nii", ECHOES, AFFINE), series=series)
    assert "3 volumes" in said
    assert "--series" in said
