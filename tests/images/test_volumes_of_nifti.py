"""NIfTI files of several volumes, such as echoes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.images.writing import write_image

from ..helpers.scan_files import lps_to_ras, scan, values, write_nifti
from .independent import read_with_nibabel

ECHOES = [scan(seed=seed) for seed in range(3)]
ARRAY = np.stack([values(echo).T for echo in ECHOES], axis=-1)
AFFINE = lps_to_ras(ECHOES[0])


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("scale", [(1, 0), (0.5, 7)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_one_of_several_volumes_is_chosen_by_its_number(number, scale, name, tmp_path, read):
    path = write_nifti(tmp_path / name, ARRAY, AFFINE, scl_slope=scale[0], scl_inter=scale[1])
    by_nibabel = np.asarray(nib.Nifti1Image.from_filename(path).dataobj)
    made = read(path, series=str(number))
    assert np.array_equal(values(made.image).T, by_nibabel[..., number - 1])
    assert np.array_equal(values(made.image).T, ARRAY[..., number - 1] * scale[0] + scale[1])


def test_the_mask_over_one_of_several_volumes_has_three_dimensions(tmp_path, read):
    made = read(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE), series="2")
    mask = sitk.Cast(made.image > 400, sitk.sitkUInt8)
    write_image(mask, tmp_path / "mask.nii.gz", made)
    written = read_with_nibabel(tmp_path / "mask.nii.gz")
    assert np.array_equal(written.values, ARRAY[..., 1] > 400)
    assert np.allclose(written.firsts[0], ECHOES[0].GetOrigin(), atol=1e-4)
    assert np.allclose(written.spacing, ECHOES[0].GetSpacing(), atol=1e-6)


@pytest.mark.parametrize("series", [None, "0", "4", "-1", "TE80", "2.0", ""])
def test_without_a_number_of_one_of_them_the_file_is_rejected(series, tmp_path, refused):
    said = refused(write_nifti(tmp_path / "a.nii", ARRAY, AFFINE), series=series)
    assert "3 volumes" in said
    assert "--series" in said


def test_the_number_has_no_effect_on_a_file_of_one_volume(tmp_path, read):
    path = write_nifti(tmp_path / "a.nii", ARRAY[..., :1], AFFINE)
    assert np.array_equal(values(read(path, series="7").image).T, ARRAY[..., 0])
