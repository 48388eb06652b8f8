"""The example scans are what their README.txt states, and our reader takes them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff import example_scans
from nnunetv2_spinesegdiff.examples import FOLDER
from nnunetv2_spinesegdiff.images.finding import look_for_scans
from nnunetv2_spinesegdiff.images.reading import read_scan

CANAL, VERTEBRA = np.s_[270:315, 292:300], np.s_[270:315, 240:275]
"""Rows and columns at the level of L3."""


def test_the_folder_holds_two_scans_and_no_other_image():
    found = look_for_scans(FOLDER)
    assert [source.name for source in found.scans] == ["81_t1", "81_t2"]
    assert [source.path for source in found.scans] == example_scans()
    assert found.passed_over == []


@pytest.mark.parametrize("number", [0, 1])
def test_each_is_one_sagittal_slice(number, tmp_path):
    image = read_scan(look_for_scans(FOLDER).scans[number], tmp_path).image
    upright = sitk.DICOMOrient(image, "PIR")
    assert upright.GetSize() == (512, 649, 1)
    assert upright.GetSpacing() == pytest.approx((0.5859375, 0.5859375, 3.3))
    # Sagittal: the slice normal is the left-right axis.
    assert np.abs(upright.GetDirection()[2]) == pytest.approx(1)
    assert image.GetPixelID() == sitk.sitkUInt8
    assert sitk.GetArrayViewFromImage(image).max() == 255


def test_fluid_is_dark_on_t1w_and_bright_on_t2w():
    """The two contrasts are not mixed up: the canal next to L3 against the vertebra."""
    for path, brighter in zip(example_scans(), (False, True), strict=True):
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
        canal, vertebra = pixels[CANAL].mean(), pixels[VERTEBRA].mean()
        assert (canal > 1.5 * vertebra) if brighter else (canal < vertebra / 1.5)


def test_source_license_changes_and_size():
    text = (FOLDER / "README.txt").read_text(encoding="utf-8")
    for part in ("van der Graaf", "10.5281/zenodo.10159290", "CC BY 4.0", "patient 81", "Changes:"):
        assert part in text
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1_000_000
