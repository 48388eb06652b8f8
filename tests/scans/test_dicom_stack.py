"""Slices and frames that are no volume."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.scans.dicom_stack import stack
from nnunetv2_spinesegdiff.scans.refusal import Refusal

from ..dataset_conversion.made_up import rotation
from .made_up import SAGITTAL, scan, values, write_enhanced, write_series, zipped

OTHER = rotation((1, 2, 0)) @ SAGITTAL


def set_on(k: int, **tags):
    """A change of one slice."""

    def change(dataset, index):
        if index == k:
            for name, value in tags.items():
                setattr(dataset, name, value)

    return change


def two_echoes(dataset, k: int) -> None:
    dataset.EchoTime = 10 if k % 2 else 80


MIXED = {
    "echo": (two_echoes, "its slices differ in echo: "),
    "spacing": (set_on(2, PixelSpacing=[1.8, 1.9]), "its slices differ in spacing: "),
    "orientation": (
        set_on(2, ImageOrientationPatient=[float(v) for v in (*OTHER[:, 0], *OTHER[:, 1])]),
        "its slices differ in orientation: ",
    ),
    "size": (set_on(2, Rows=32, PixelData=bytes(70 * 32 * 2)), "its slices differ in size: "),
    "duplicates": (set_on(2, ImagePositionPatient=[14 - 3 * 4.4, -60, 55]), "lie at the same place"),
    "gap": (lambda dataset, k: k != 4, r"not evenly spaced, 8.80 mm after slice 4 (IM"),
    "uneven": (
        set_on(6, ImagePositionPatient=[14 - 6.2 * 4.4, -60, 55]),
        "not evenly spaced, 5.28 mm after slice 6 (",
    ),
    "out of line": (set_on(3, ImagePositionPatient=[14 - 3 * 4.4, -58, 55]), "do not lie in one line"),
    "leaning": (
        lambda d, k: setattr(d, "ImagePositionPatient", [14 - 4.4 * k, -60 + 0.3 * k, 55]),
        "its slices lean over by 3.9 degrees (tilted stack)",
    ),
    "nowhere": (
        lambda dataset, k: delattr(dataset, "ImagePositionPatient") if k == 3 else None,
        "its slices do not say where in the patient they lie",
    ),
}


@pytest.mark.parametrize("what", MIXED)
@pytest.mark.parametrize("packed", [False, True])
def test_a_series_that_is_no_volume_is_refused(what, packed, tmp_path, refused):
    change, said = MIXED[what]
    write_series(tmp_path / "exam", scan(), change=change)
    path = zipped(tmp_path / "exam", tmp_path / "exam.zip") if packed else tmp_path / "exam"
    assert said in refused(path)


@pytest.mark.parametrize(("aside", "warned"), [(0.0005, False), (0.02, True), (0.07, True)])
def test_slices_that_lean_over_a_little_are_read(aside, warned, tmp_path, read):
    def lean(dataset, k):
        dataset.ImagePositionPatient = [14 - 4.4 * k, -60 + aside * k, 55]

    write_series(tmp_path / "exam", scan(), change=lean)
    warnings = read(tmp_path / "exam").warnings
    assert len(warnings) == warned
    if warned:
        angle = np.degrees(np.arctan(aside / 4.4))
        assert warnings == (f"the slices lean over by {angle:.2f} degrees; taken for upright",)


def test_a_copy_of_a_slice_is_refused_by_name(tmp_path, refused):
    write_series(tmp_path / "exam", scan())
    file = sorted((tmp_path / "exam").iterdir())[0]
    shutil.copy(file, tmp_path / "exam" / "copy")
    said = refused(tmp_path / "exam")
    assert "copy" in said
    assert file.name in said


@given(
    st.integers(2, 20),
    st.integers(0, 2**32 - 1),
    st.floats(0.5, 9),
    st.tuples(*[st.floats(-80, 80)] * 3),
    st.floats(0, 0.04),
)
def test_slices_are_put_in_order_along_their_normal(count, seed, apart, turn, jitter):
    rng = np.random.default_rng(seed)
    normal = rotation(turn)[:, 2]
    places = apart * (np.arange(count) + rng.uniform(-jitter, jitter, count))
    shuffled = rng.permutation(count)
    positions = np.array([3.0, -4, 5]) + places[shuffled, None] * normal
    made = stack(positions, normal, [str(k) for k in shuffled])
    assert [int(shuffled[k]) for k in made.order] == list(range(count))
    assert made.warnings == ()


@given(st.integers(4, 20), st.data())
def test_any_missing_slice_inside_is_told(count, data):
    gone = data.draw(st.integers(1, count - 2))
    places = [4.0 * k for k in range(count) if k != gone]
    positions = np.outer(places, [1, 0, 0])
    with pytest.raises(Refusal, match=rf"8\.00 mm after slice {gone} \(s{gone - 1}\)"):
        stack(positions, np.array([1.0, 0, 0]), [f"s{round(p / 4)}" for p in places])


@pytest.mark.parametrize("step", [0.85, 1.15])
def test_a_distance_that_differs_by_more_than_a_tenth_is_refused(step):
    places = np.cumsum([0, 1, 1, step, 1, 1])
    with pytest.raises(Refusal, match="not evenly spaced"):
        stack(np.outer(places, [0, 0, 1.0]), np.array([0, 0, 1.0]), list("abcdef"))


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 2, 1, 3, 4, 5, 6], "are not one stack in the order of their places"),
        ([0, 1, 2, 4, 5, 6], "not evenly spaced, 8.80 mm after slice 3"),
        ([0, 1, 1, 2, 3, 4], "lie at the same place"),
    ],
)
def test_frames_that_gdcm_puts_at_wrong_places_are_refused(order, said, tmp_path, refused):
    path = write_enhanced(tmp_path / "a", scan(), order)
    last = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((0, 0, len(order) - 1))
    apart = np.subtract(last, scan().TransformIndexToPhysicalPoint((0, 0, order[-1])))
    assert np.abs(apart).max() > 1, "GDCM began to see it: simplify"
    assert said in refused(path)


@pytest.mark.parametrize("order", [range(7), range(6, -1, -1)])
def test_frames_may_be_in_either_order(order, tmp_path, read):
    made = read(write_enhanced(tmp_path / "a", scan(), order)).image
    assert np.array_equal(values(made), values(scan())[list(order)])
    for k in range(7):
        place = scan().TransformIndexToPhysicalPoint((0, 0, order[k]))
        assert np.allclose(made.TransformIndexToPhysicalPoint((0, 0, k)), place, atol=1e-3)


def test_frames_without_places_and_several_files_of_frames_are_refused(tmp_path, refused):
    path = write_enhanced(tmp_path / "exam" / "a", scan())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x30\x00DS"))
    assert "where its 7 frames lie is not told" in refused(path)
    path.write_bytes(content)
    shutil.copy(path, path.with_name("b"))
    assert "its series is 2 files of several frames each" in refused(tmp_path / "exam")


@pytest.mark.parametrize("slopes", [(1, 1), (2, 1), (0.001, 1), (1, 0.001), (0.25, 0.5)])
def test_slices_that_are_rescaled_differently_keep_their_values(slopes, tmp_path, read):
    def rescale(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = slopes[k % 2], 0

    image = scan()
    write_series(tmp_path / "exam", image, change=rescale)
    expected = sitk.GetArrayFromImage(image) * np.array(slopes)[np.arange(image.GetSize()[2]) % 2, None, None]
    assert np.allclose(sitk.GetArrayFromImage(read(tmp_path / "exam").image), expected, rtol=1e-6)
