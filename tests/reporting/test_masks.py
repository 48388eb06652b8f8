"""Masks that cannot be read, or lie elsewhere than their label."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.grid import check_same_grid
from nnunetv2_spinesegdiff.images.reading import read_scalar_volume

from .made_up import label_map, write

AXES = (0, 0, -1, 1, 0, 0, 0, -1, 0)


def read_mask(path: Path) -> sitk.Image:
    """As evaluation reads masks and labels."""
    return read_scalar_volume(path, placed=False)


def check(mask: Path, label: Path) -> None:
    check_same_grid(mask, read_mask(mask), label, read_mask(label))


@pytest.fixture
def label(tmp_path) -> Path:
    return write(label_map(0), tmp_path / "label.nii.gz")


def test_the_same_grid_is_taken_in_another_format(tmp_path, label):
    check(write(label_map(1), tmp_path / "mask.mha"), label)


@pytest.mark.parametrize("offset", [0.3, -0.3, 5.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_moved_origin_is_named(tmp_path, label, offset, axis):
    origin = [3.0, -4.0, 5.0]
    origin[axis] += offset
    with pytest.raises(UserError, match=r"mask.nii.gz: .*label.nii.gz \(corners are up to [\d.]+ mm"):
        check(write(label_map(0), tmp_path / "mask.nii.gz", origin), label)


def test_rounding_of_a_header_is_no_shift(tmp_path, label):
    check(write(label_map(0), tmp_path / "mask.nii.gz", (3.0001, -4.0, 5.0)), label)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_another_spacing_is_named(tmp_path, label, axis):
    spacing = [1.5, 0.75, 4.0]
    spacing[axis] *= 1.1
    with pytest.raises(UserError, match=r"mask.nii.gz: .* grid of .*corners are up to [\d.]+ mm"):
        check(write(label_map(0), tmp_path / "mask.nii.gz", spacing=spacing), label)


def test_another_size_is_named(tmp_path, label):
    with pytest.raises(UserError, match=r"label.nii.gz \(20 x 24 x 2 voxels instead of 20 x 24 x 1\)"):
        check(write(label_map(0, (2, 24, 20)), tmp_path / "mask.nii.gz"), label)


def test_a_flip_is_named(tmp_path, label):
    with pytest.raises(UserError, match=r"not on the grid of .*label.nii.gz"):
        check(write(label_map(0), tmp_path / "mask.nii.gz", direction=(0, 0, -1, -1, 0, 0, 0, -1, 0)), label)


def test_a_small_turn_is_named(tmp_path, label):
    angle = np.deg2rad(2)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    direction = (np.reshape(AXES, (3, 3)) @ turn).ravel()
    with pytest.raises(UserError, match="not on the grid of"):
        check(write(label_map(0), tmp_path / "mask.nii.gz", direction=direction), label)


def test_what_is_missing_or_truncated_is_named(tmp_path, label):
    with pytest.raises(UserError, match=r"none.nii.gz: no such file"):
        read_mask(tmp_path / "none.nii.gz")
    label.write_bytes(label.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"label.nii.gz: is truncated or damaged"):
        read_mask(label)


def test_colour_is_no_mask(tmp_path):
    path = tmp_path / "colour.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 4, 4, 3), np.uint8), isVector=True), str(path))
    with pytest.raises(UserError, match="3 values per voxel"):
        read_mask(path)


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.mha", "mask.nrrd"])
def test_overlap_needs_no_place_in_the_patient(tmp_path, name):
    """nnU-Net predicts such scans; without a place the axes are those of the world, as ITK takes them."""
    plain = sitk.GetImageFromArray(label_map(0))
    plain.SetSpacing((1.5, 2.0, 3.0))
    path = tmp_path / name
    for file in (tmp_path / "label.nii.gz", path):
        sitk.WriteImage(plain, str(file))
    if name.endswith(".nii.gz"):
        stored: Any = nib.load(path)
        bare = nib.Nifti1Image(np.asarray(stored.dataobj), None, stored.header)
        bare.header["qform_code"] = bare.header["sform_code"] = 0
        nib.save(bare, path)
    else:
        line, other = {
            ".mha": (rb"(?m)^TransformMatrix.*\n", b""),
            ".nrrd": (rb"(?m)^space: .*\n", b"space dimension: 3\n"),
        }[path.suffix]
        path.write_bytes(re.sub(line, other, path.read_bytes()))
    with pytest.raises(UserError, match="left and right"):
        read_scalar_volume(path)
    check(path, tmp_path / "label.nii.gz")
