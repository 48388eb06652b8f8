"""What is written is whole, or is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.images.scan import Scan, ScanSource
from nnunetv2_spinesegdiff.images.writing import write_image

from ..full_disk import says_that_the_disk_is_full

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")


def image(kind: type = np.uint8) -> sitk.Image:
    values: np.ndarray = np.random.default_rng(0).integers(0, 255, (5, 60, 70)).astype(kind)
    values[-2:] = 0  # as the slices of a scan that were not segmented
    return sitk.GetImageFromArray(values)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_written_is_read_again(ending, kind, tmp_path):
    write_image(image(kind), path := tmp_path / f"a{ending}")
    again = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(image(kind)))
    if ending.startswith(".nii"):
        by_others: Any = nib.load(path)
        assert np.array_equal(by_others.get_fdata().T, sitk.GetArrayFromImage(image(kind)))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("missing", [1, 4, 9, 2000, None])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_nothing(ending, missing, tmp_path):
    write_image(image(), whole := tmp_path / f"whole{ending}")
    size = whole.stat().st_size
    folder = tmp_path / "full"
    folder.mkdir()
    most = 0 if missing is None else size - missing
    assert says_that_the_disk_is_full(lambda: write_image(image(), folder / f"a{ending}"), most)
    assert list(folder.iterdir()) == []


def test_header_fields_are_kept_with_the_direction_of_a_scan(tmp_path):
    turned = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    written = image()
    written.SetMetaData("Segment0_Name", "L5")
    scan = Scan(ScanSource("a", Path("a.mha"), "file"), image(), ".mha", direction=turned)
    write_image(written, tmp_path / "a.nrrd", scan)
    again = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    assert again.GetDirection() == turned
    assert again.GetMetaData("Segment0_Name") == "L5"
    assert written.GetDirection() != turned
