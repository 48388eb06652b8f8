from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff import example_scans
from nnunetv2_spinesegdiff.images.intensities import scale_intensities, signal_range


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


def mr_like(seed: int = 0) -> np.ndarray:
    """Dark background with noise and bright tissue, int32 from 0 to about 1000."""
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(0, 8, (8, 40, 40)))
    values[:, 10:30] = rng.gamma(9, 40, (8, 20, 40))
    return values.round().astype(np.int32)


def scaled(array: np.ndarray) -> np.ndarray:
    return sitk.GetArrayFromImage(scale_intensities(sitk.GetImageFromArray(array)))


def test_a_few_negative_values_become_zero():
    array = mr_like()
    array[0, :2] -= 20
    assert signal_range(array).warnings() == ()
    assert np.array_equal(scaled(array), scaled(array.clip(0)))


SHIFTED = {
    "z-scores": lambda values: (values - values.mean()) / values.std(),
    "offset of unsigned values": lambda values: (values + 32768).astype(np.uint16),
    "offset of signed values": lambda values: (values - 32768).astype(np.int16),
    "negated inverted": lambda values: -1 - values.max() + values,
}


@pytest.mark.parametrize("how", SHIFTED)
@given(st.integers(0, 2**32 - 1))
def test_shifted_values_are_scaled_as_those_of_the_scanner(how, seed):
    array = mr_like(seed)
    shifted = SHIFTED[how](array)
    assert np.abs(scaled(shifted) - scaled(array)).max() < 0.01 * 255
    (warning,) = signal_range(shifted).warnings()
    assert "taken for shifted" in warning


@pytest.mark.parametrize("top", [0, 900, -5000])
def test_an_inverted_image_is_refused(top):
    with pytest.raises(ValueError, match="look inverted"):
        scaled(top - 3 * mr_like())


@pytest.mark.parametrize("padding", [32767, -2000, -32768])
@pytest.mark.parametrize("share", [0.005, 0.03, 0.3])
@pytest.mark.parametrize("offset", [0, 3000])
def test_padding_neither_squeezes_the_tissue_nor_is_bright(padding, share, offset):
    array = mr_like() + offset
    rng = np.random.default_rng(1)
    padded = rng.random(array.shape) < share
    values = np.where(padded, padding, array)
    expected = scaled(array)
    assert np.abs(scaled(values) - expected)[~padded].max() < 0.03 * 255
    assert (scaled(values)[padded] == 0).all()
    assert f"voxels of {padding} are taken for padding" in signal_range(values).warnings()[0]


@pytest.mark.parametrize("top", [255, 400])
def test_saturated_values_are_no_padding(top):
    values = mr_like().clip(0, top)
    assert signal_range(values).warnings() == ()
    assert scaled(values).max() == 255


def test_real_scans_are_neither_shifted_nor_padded():
    for path in example_scans():
        assert signal_range(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).warnings() == ()
