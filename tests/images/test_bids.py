"""Which images of a BIDS dataset are scans, and what their names state."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.bids import BidsName, is_dataset, plane_of
from nnunetv2_spinesegdiff.images.finding import find_scans, look_for_scans

from ..helpers.bids_dataset import describe, place
from ..helpers.model_spine import spine, write


def test_anatomical_images_are_scans_with_their_own_names(tmp_path):
    dataset = describe(tmp_path / "data")
    wanted = ["sub-01_T1w", "sub-01_T2w", "sub-02_ses-a_acq-sag_run-1_T2w", "sub-02_ses-b_part-mag_T2w"]
    others = [
        *("sub-01_T1map", "sub-01_UNIT1", "sub-01_desc-preproc_T2w", "sub-01_space-T1w_T2w"),
        *("sub-01_part-phase_T2w", "sub-01_label-SC_mask"),
    ]
    for name in wanted + others:
        place(dataset, name).touch()
    for folder in ("derivatives/other", "sourcedata", "code", ".git"):
        place(dataset / folder, "sub-01_T2w").touch()
    (dataset / "sub-01" / "anat" / ".sub-01_T2w.nii.gz").touch()
    (dataset / "sub-01" / "dwi").mkdir()
    (dataset / "sub-01" / "dwi" / "sub-01_T2w.nii.gz").touch()
    found = look_for_scans(dataset)
    assert [source.name for source in found.scans] == wanted
    assert [source.path for source in found.scans] == [place(dataset, name) for name in wanted]
    assert found.passed_over == []


def test_misnamed_images_and_other_formats_are_reported(tmp_path):
    dataset = describe(tmp_path)
    place(dataset, "sub-01_T2w").touch()
    anat = dataset / "sub-01" / "anat"
    skipped = ["sub-01_T2w.mgz", "sub-01_T2w_sag.nii.gz", "sub-02_T2w.nii.gz", "sub-01_ses-1_T2w.nii.gz"]
    for name in skipped:
        (anat / name).touch()
    found = look_for_scans(dataset)
    assert [source.name for source in found.scans] == ["sub-01_T2w"]
    assert found.passed_over == sorted(f"sub-01/anat/{name}" for name in skipped)


def test_two_endings_of_one_image_are_an_error(tmp_path):
    path = place(describe(tmp_path), "sub-01_T2w")
    for file in (path, path.with_suffix("")):
        file.touch()
    with pytest.raises(UserError) as caught:
        find_scans(tmp_path)
    assert caught.value.subject in (path, path.with_suffix(""))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_description_is_one_line(content, tmp_path):
    place(describe(tmp_path), "sub-01_T2w").touch()
    (tmp_path / "dataset_description.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        look_for_scans(tmp_path)
    assert caught.value.subject == tmp_path / "dataset_description.json"
    assert "\n" not in str(caught.value)


def test_a_dataset_without_images_is_an_error_and_a_subject_is_an_ordinary_folder(tmp_path):
    with pytest.raises(UserError, match="T2w"):
        find_scans(describe(tmp_path))
    place(tmp_path, "sub-01_T2w").touch()
    assert not is_dataset(tmp_path / "sub-01")
    assert [source.name for source in find_scans(tmp_path / "sub-01")] == ["anat_sub-01_T2w"]


@pytest.mark.parametrize("name", ["T2w", "sub-01", "01_T2w", "sub-_T2w", "sub-01_T2w_x-1", "sub-01/x_T2w"])
def test_other_names_are_not_split(name):
    assert BidsName.of(name) is None


def test_the_plane_is_that_of_the_header(tmp_path):
    sagittal = write(spine(), tmp_path / "sagittal.nii.gz")
    axial = sitk.GetImageFromArray(np.zeros((5, 40, 40), np.int16))
    axial.SetSpacing((1.0, 1.0, 5.0))
    (tmp_path / "damaged.nii.gz").write_bytes(b"damaged")
    assert plane_of(sagittal) == "sagittal"
    assert plane_of(write(axial, tmp_path / "axial.nii.gz")) == "axial"
    assert plane_of(tmp_path / "damaged.nii.gz") is None
