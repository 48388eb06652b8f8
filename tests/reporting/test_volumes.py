"""What a file holds and where it lies."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.volumes import read_volume
from nnunetv2_spinesegdiff.images.grid import TOLERANCE_MM

from .small_evaluation import write_image

VALUES = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def test_volumes_and_slices_are_read_in_one_layout(tmp_path):
    volume = read_volume(write_image(tmp_path / "a.nii.gz", VALUES, (0.5, 1.5, 4.0), direction=rotation(90)))
    np.testing.assert_array_equal(volume.values, VALUES)
    assert volume.spacing == pytest.approx((4.0, 1.5, 0.5))
    assert volume.direction == pytest.approx(rotation(90))
    plane = read_volume(write_image(tmp_path / "a.mha", VALUES[0], (0.5, 1.5)))
    np.testing.assert_array_equal(plane.values, VALUES[:1])
    assert plane.spacing == pytest.approx((1.0, 1.5, 0.5))
    assert plane.direction is None


def test_colours_are_averaged(tmp_path):
    image = sitk.GetImageFromArray(
        np.dstack([np.full((3, 4), v, np.uint8) for v in (0, 30, 60)]), isVector=True
    )
    sitk.WriteImage(image, str(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").values, np.full((1, 3, 4), 30))


def test_files_that_cannot_be_shown_are_named_in_one_line(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(VALUES)] * 2), str(tmp_path / "four.nii.gz"))
    for name, cause in (("none", "no such file"), ("broken", "not a gzip"), ("four", "has 4 dimensions")):
        with pytest.raises(UserError, match=cause) as error:
            read_volume(tmp_path / f"{name}.nii.gz")
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("place", "same"),
    [
        ({}, True),
        ({"origin": (0.9 * TOLERANCE_MM, 0, 0)}, True),
        ({"origin": (0, 0, 1.1 * TOLERANCE_MM)}, False),
        ({"direction": rotation(0.01)}, True),
        ({"direction": rotation(20)}, False),
        ({"direction": rotation(180)}, False),
        ({"spacing": (0.5, 1.5, 4.5)}, False),
    ],
)
def test_a_tenth_of_a_millimeter_is_the_same_place(tmp_path, place, same):
    spacing = (0.5, 1.5, 4.0)
    one = read_volume(write_image(tmp_path / "a.mha", VALUES, spacing))
    other = read_volume(write_image(tmp_path / "b.mha", VALUES, **{"spacing": spacing, **place}))
    if same:
        other.check_on(one)
        return
    with pytest.raises(UserError, match=r"b\.mha: is not on the grid of .*a\.mha \(corners are up to .* mm"):
        other.check_on(one)


def test_other_sizes_are_another_place(tmp_path):
    one = read_volume(write_image(tmp_path / "a.mha", VALUES))
    for other in (VALUES[:, :2], VALUES[0]):
        with pytest.raises(UserError, match=r"voxels instead of 4 x 3 x 2"):
            read_volume(write_image(tmp_path / "b.mha", other)).check_on(one)
