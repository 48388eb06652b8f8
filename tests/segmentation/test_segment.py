"""One scan: what is measured of it, and what is not."""

from __future__ import annotations

import pytest
import SimpleITK as sitk
import torch

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.reading import scan_of
from nnunetv2_spinesegdiff.labels import VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.segment import segment_scan
from nnunetv2_spinesegdiff.uncertainty.stored import Calibration

from ..helpers.model_spine import BRIGHTNESS, reading_model, spine

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


class Fails:
    def __init__(self, error: Exception):
        self.error = error

    def predict(self, image, spacing):
        raise self.error


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()], ids=repr
)
@pytest.mark.parametrize(("device", "todo"), [("cuda:0", "device cpu"), ("cpu", "crop it")])
def test_a_lack_of_memory_is_one_line_that_says_where(error, device, todo):
    model = reading_model()
    model.predictor, model.device = Fails(error), torch.device(device)
    with pytest.raises(UserError, match=rf"^scan: {device} has not enough memory.*{todo}"):
        segment_scan(scan_of(spine()), "middle", model)


@pytest.mark.parametrize(
    ("spacing", "cut", "told"),
    [
        ((4.0, 1.0, 1.0), ("middle", "2d"), []),
        ((4.0, 1.49, 1.0), ("middle", "2d"), []),  # 328 mm
        ((4.0, 1.9, 1.0), ("middle", "2d"), ["320 x 320 of 418 x 180 mm (head to foot, front to back)"]),
        ((4.0, 1.0, 2.0), ("all", "2d"), ["320 x 320 of 220 x 360 mm (head to foot, front to back)"]),
        ((15.0, 1.0, 1.0), ("all", "2d"), []),
        ((15.0, 1.0, 1.0), ("all", "3d"), ["64 of 105 mm left to right"]),
    ],
)
def test_what_lies_beyond_the_converters_window_is_warned_of(spacing, cut, told):
    scan = spine()
    scan.SetSpacing(spacing[::-1])
    done = segment_scan(scan_of(scan), "middle", reading_model(*cut))
    expected = [f"only the middle {what} were segmented" for what in told]
    assert [line for line in done.warnings if "only the middle" in line] == expected
    assert done.mask.GetSize() == scan.GetSize()


def spine_and(at: slice | int) -> sitk.Image:
    """The spine, with two boxes of 200 mm² as bright as bone in front of it, in slices of the volume."""
    scan = spine()
    values = sitk.GetArrayFromImage(scan)
    for row in (60, 150):
        values[at, row : row + 10, 10:30] = BRIGHTNESS[VERTEBRAE]
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(scan)
    return image


@pytest.mark.parametrize(
    ("at", "slices", "warned"),
    [(slice(None), "middle", True), (slice(None), "all", True), (1, "all", False), (3, 1, False)],
)
def test_parts_outside_of_the_spine_are_warned_of_in_the_measured_slice(at, slices, warned):
    done = segment_scan(scan_of(spine_and(at)), slices, reading_model("all"))
    warnings = [line for line in done.warnings if "outside" in line]
    assert len(warnings) == warned
    assert all(line.startswith("vertebrae: 2 parts (400 mm2)") for line in warnings)
