"""What a file holds and where it lies."""

from __future__ import annotations

import re
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.slices import Volume, read_volume
from nnunetv2_spinesegdiff.images.grid import TOLERANCE_MM, check_same_grid
from nnunetv2_spinesegdiff.images.reading import read_scalar_volume

from ...helpers.masks import ORIGIN, SPACING, label_map, write_volume
from ...helpers.spider_series import rotation

VALUES = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
TURN = rotation((0, 0, 90))


def test_volumes_and_slices_are_read_in_one_layout(tmp_path):
    volume = read_volume(write_volume(VALUES, tmp_path / "a.nii.gz", direction=TURN))
    np.testing.assert_array_equal(volume.values, VALUES)
    assert volume.spacing == pytest.approx(SPACING[::-1])
    assert volume.direction == pytest.approx(TURN)
    plane = read_volume(write_volume(VALUES[0], tmp_path / "a.mha"))
    np.testing.assert_array_equal(plane.values, VALUES[:1])
    assert plane.spacing == pytest.approx((1.0, 0.75, 1.5))
    assert plane.direction is None


def test_colors_are_averaged(tmp_path):
    colors = np.dstack([np.full((3, 4), v, np.uint8) for v in (0, 30, 60)])
    sitk.WriteImage(sitk.GetImageFromArray(colors, isVector=True), str(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").values, np.full((1, 3, 4), 30))


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(VALUES)] * 2), str(tmp_path / "four.nii.gz"))
    for name, cause in (("none", "no such file"), ("broken", "not a gzip"), ("four", "4 dimensions")):
        with pytest.raises(UserError, match=f"^{tmp_path / name}.*{cause}"):
            read_volume(tmp_path / f"{name}.nii.gz")


def check_on(volume: Volume, other: Volume) -> None:
    check_same_grid(volume.path, volume.image, other.path, other.image)


def moved(axis: int, mm: float) -> dict[str, Any]:
    return {"origin": [value + mm * (number == axis) for number, value in enumerate(ORIGIN)]}


@pytest.mark.parametrize(
    ("place", "same"),
    [
        ({}, True),
        (moved(0, 0.9 * TOLERANCE_MM), True),
        *((moved(axis, 1.1 * TOLERANCE_MM), False) for axis in range(3)),
        (moved(1, -5.0), False),
        ({"direction": rotation((0, 0, 0.01))}, True),
        ({"direction": rotation((0, 0, 2))}, False),
        ({"direction": rotation((0, 0, 180))}, False),
        *(
            ({"spacing": [mm * (1.1 if n == axis else 1) for n, mm in enumerate(SPACING)]}, False)
            for axis in range(3)
        ),
    ],
)
def test_a_tenth_of_a_millimeter_is_the_same_place(tmp_path, place, same):
    array = label_map(0, (2, 24, 20))
    files = [
        write_volume(array, tmp_path / name, **{"direction": np.eye(3), **where})
        for name, where in (("a.nii.gz", {}), ("b.mha", place))
    ]
    one, other = (read_volume(file) for file in files)
    if same:
        check_on(other, one)
        return
    with pytest.raises(UserError, match=r"b\.mha: is not on the grid of .*a\.nii\.gz .*corners"):
        check_on(other, one)


def test_other_sizes_are_another_place(tmp_path):
    one = read_volume(write_volume(VALUES, tmp_path / "a.mha"))
    for other in (VALUES[:, :2], VALUES[0]):
        with pytest.raises(UserError, match="4 x 3 x 2"):
            check_on(read_volume(write_volume(other, tmp_path / "b.mha")), one)


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.mha", "mask.nrrd"])
def test_overlap_needs_no_place_in_the_patient(tmp_path, name):
    """nnU-Net predicts such scans; without a place the axes are those of the world, as ITK takes them."""
    path, label = tmp_path / name, tmp_path / "label.nii.gz"
    for file in (label, path):
        write_volume(label_map(0), file, (0, 0, 0), direction=np.eye(3))
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
    mask, truth = (read_scalar_volume(file, placed=False) for file in (path, label))
    check_same_grid(path, mask, label, truth)
