"""What a segmentation says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice

from nnunetv2_spinesegdiff.labels import CLASSES
from nnunetv2_spinesegdiff.segmentation.findings import edge_warnings


@pytest.mark.parametrize("rows", [200, 300, 320, 500])
@pytest.mark.parametrize("mm", [0.7, 1.0])
@pytest.mark.parametrize("structure", ["vertebrae", "ivd"])
@pytest.mark.parametrize("gap", [0, 1, 5, 40])
def test_a_lowest_structure_at_the_edge_of_the_scan_is_told(rows, mm, structure, gap):
    image = sitk.Image([180, rows, 3], sitk.sitkFloat32)
    image.SetSpacing((1.0, mm, 4.0))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    view = extract_slice(image)
    height = sitk.GetArrayFromImage(view.image).shape[1]
    end = round(height / 2 + min(rows * mm, height) / 2)
    mask = np.zeros((height, 320), np.uint8)
    mask[end - gap - 60 : end - gap, 100:140] = CLASSES[structure]
    mask[:end, 160:170] = CLASSES["spinal_canal"]  # leaves the scan in most of them
    said = edge_warnings(mask, view)
    assert len(said) == (gap < 2)
    assert all("begin at another level than L5/S1" in line for line in said)
