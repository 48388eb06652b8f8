from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2_spinesegdiff.dataset_conversion.intensities import scale_intensities


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1000), st.sampled_from([np.uint16, np.int16, np.float64]))
def test_the_98th_percentile_of_the_volume_becomes_255(seed, scale, dtype):
    array = np.random.default_rng(seed).gamma(2, 20 * scale + 1, (6, 12, 12)).clip(0, 32767).astype(dtype)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.6, 4))
    scaled = scale_intensities(image)
    values = sitk.GetArrayFromImage(scaled)
    below = array < np.percentile(array, 98)
    assert scaled.GetPixelID() == sitk.sitkFloat32
    assert scaled.GetSpacing() == image.GetSpacing()
    assert (values[~below] > 254.99).all()
    assert np.allclose(values[below], array[below] / np.percentile(array, 98) * 255, atol=1e-2)
    assert values.min() >= 0
    assert values.max() <= 255


def test_negative_values_become_zero():
    array = np.linspace(-50, 100, 1000).reshape(10, 10, 10)
    assert sitk.GetArrayFromImage(scale_intensities(sitk.GetImageFromArray(array))).min() == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, np.nan], "1 voxels are NaN"),
        ([0, np.inf, -np.inf], "2 voxels are NaN or infinite"),
        ([3, 3, 3], "all voxels are 3"),
        ([-3, -2, -1], "no signal"),
    ],
)
def test_what_is_no_scan_is_refused(values, message):
    image = sitk.GetImageFromArray(np.array(values, dtype=np.float32).reshape(1, 1, 3))
    with pytest.raises(ValueError, match=message):
        scale_intensities(image)
