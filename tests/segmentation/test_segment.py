"""One scan: what is measured of it, and what is not."""

from __future__ import annotations

import pytest

from nnunetv2_spinesegdiff.inference.calibrated import Calibration
from nnunetv2_spinesegdiff.scans.in_memory import scan_of
from nnunetv2_spinesegdiff.segmentation.segment import segment_scan

from .made_up import reading_model, spine

CALIBRATION = Calibration([1.0] * 4, {"spinal_canal": 0.1, "vertebrae": 0.1, "ivd": 0.1})


@pytest.mark.parametrize(
    ("cut", "slices", "bounded"),
    [
        (("middle", "2d"), "middle", True),
        (("middle", "2d"), 2, True),
        (("all", "2d"), "middle", False),
        (("all", "3d"), "middle", False),
        (("all", "2d"), "all", False),
    ],
)
def test_areas_have_bounds_where_the_model_learnt_them_from_single_slices(cut, slices, bounded):
    model = reading_model(*cut)
    model.calibration = CALIBRATION
    rows = segment_scan(scan_of(spine()), slices, model).measurements
    for row in rows:
        has_bounds = row["area_low_mm2"] is not None and row["area_high_mm2"] is not None
        assert has_bounds == (bounded and row["number"] is None)
        if has_bounds:
            assert row["area_low_mm2"] <= row["area_mm2"] <= row["area_high_mm2"]
