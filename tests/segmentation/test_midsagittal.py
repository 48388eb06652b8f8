"""The midsagittal slice is found by its canal."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice

from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
from nnunetv2_spinesegdiff.labels import CLASSES, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.midsagittal import MidsagittalSearch


def stack(numbers: int, apart: float = 4.0) -> sitk.Image:
    """Slices that hold their number everywhere, from the patient's left."""
    values = np.broadcast_to(np.arange(numbers, dtype=np.float32)[:, None, None], (numbers, 200, 160))
    image = sitk.GetImageFromArray(np.ascontiguousarray(values))
    image.SetSpacing((1.0, 1.0, apart))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    return image


def look_for(areas: list[int], apart: float = 4.0, with_vertebrae: bool = True) -> tuple[int, str, list[int]]:
    """What is found where stage 1 sees a canal of a given area in every slice, and the slices looked at."""
    asked = []
    whole = extract_slice(stack(len(areas), apart), slices="all")
    search = MidsagittalSearch(whole)
    for number in search:
        image = sitk.GetArrayFromImage(whole.part(number).image)
        assert image.max() == number
        asked.append(number)
        mask = np.zeros(image.shape, np.uint8)
        mask.reshape(-1)[: areas[number]] = CLASSES["spinal_canal"]
        mask.reshape(-1)[-9:] = VERTEBRAE if with_vertebrae else 0
        search.see(number, mask)
    return *search.found(), asked


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([0, 0, 50, 400, 900, 950, 800, 300, 0, 0, 0], 5),  # the middle one is the largest
        ([0, 0, 50, 400, 900, 930, 1000, 300, 0, 0, 0], 5),  # and here large enough
        ([0, 0, 50, 400, 500, 600, 1000, 300, 0, 0, 0], 6),
        ([0, 0, 500, 950, 1000, 60, 0, 0, 0, 0, 0], 4),  # of two close ones, the one nearer to the middle
        ([300, 900, 700, 40, 10, 0, 0, 0, 0, 0, 0], 1),  # outside of the middle half, where the canal grows
        ([0, 0, 0, 0, 0, 0, 0, 10, 20, 200, 900], 10),
        ([700, 0], 0),
        ([800, 900, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1),  # far away from the middle half
    ],
)
def test_the_slice_with_a_large_canal_nearest_to_the_middle_is_found(areas, expected):
    number, note, _ = look_for(areas)
    assert number == expected
    assert (note == "") == (expected == len(areas) // 2)
    if note:
        assert f"slice {expected} was segmented instead of the middle one ({len(areas) // 2})" in note


@pytest.mark.parametrize("with_vertebrae", [True, False])
def test_without_a_canal_the_middle_one_is_taken_and_that_is_told(with_vertebrae):
    number, note, asked = look_for([0 if with_vertebrae else 500] * 9, with_vertebrae=with_vertebrae)
    assert number == 4
    assert "no spinal canal was found in" in note
    assert sorted(asked) == list(range(9))


@pytest.mark.parametrize(("apart", "most"), [(0.5, 15), (1.0, 25), (4.0, 45), (12.0, 45)])
def test_thin_slices_are_not_all_looked_at(apart, most):
    areas = [max(0, 900 - round(abs(k - 60) * apart * 40)) for k in range(88)]
    number, _, asked = look_for(areas, apart)
    assert areas[number] >= 0.75 * 900
    assert len(asked) == len(set(asked)) <= most


@pytest.mark.parametrize("place", [1, 3])
def test_the_shipped_model_finds_a_spine_off_the_middle(place):
    """Beside the real slice are ones of noise."""
    real = sitk.ReadImage(str(example_scans()[1]))
    values = sitk.GetArrayFromImage(real)
    sagittal = int(np.argmin(real.GetSize()))
    assert real.GetSize()[sagittal] == 1
    noise = np.random.default_rng(0).integers(0, 40, (5, *values.shape)).astype(values.dtype)
    noise[place] = values
    axis = 2 - sagittal
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.concatenate(list(noise), axis)))
    image.SetSpacing(real.GetSpacing())
    image.SetDirection(real.GetDirection())
    with SpineSegmenter(device="cpu", refine=False) as segmenter:
        result = segmenter.segment(image)
    found = np.flatnonzero(np.moveaxis(sitk.GetArrayFromImage(result.mask), axis, 0).any((1, 2)))
    assert found.tolist() == [place]
    assert any("was segmented instead of the middle one" in warning for warning in result.warnings)
