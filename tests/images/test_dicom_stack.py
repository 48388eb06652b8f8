"""Slices and frames that are no volume."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from nnunetv2_spinesegdiff.images import dicom
from nnunetv2_spinesegdiff.images.dicom import stack
from nnunetv2_spinesegdiff.images.scan import Refusal

from ..helpers.spider_series import rotation
from .made_up import SAGITTAL, scan, values, write_enhanced, write_series, zipped

OTHER = rotation((1, 2, 0)) @ SAGITTAL


def set_on(k: int, **tags):
    """A change of one slice."""

    def change(dataset, index):
        if index == k:
            for name, value in tags.items():
                setattr(dataset, name, value)

    return change


def imager_spacing(dataset, _: int) -> None:
    dataset.ImagerPixelSpacing = dataset.PixelSpacing
    del dataset.PixelSpacing


MIXED = {
    "spacing": (set_on(2, PixelSpacing=[1.8, 1.9]), "in spacing and were set aside: IM"),
    "orientation": (
        set_on(2, ImageOrientationPatient=[float(v) for v in (*OTHER[:, 0], *OTHER[:, 1])]),
        "in orientation and were set aside: IM",
    ),
    "size": (set_on(2, Rows=32, PixelData=bytes(70 * 32 * 2)), "in size and were set aside: IM"),
    "no pixel spacing": (lambda dataset, k: delattr(dataset, "PixelSpacing"), "no PixelSpacing for"),
    "detector's spacing": (imager_spacing, "no PixelSpacing for"),
    "duplicates": (set_on(2, ImagePositionPatient=[14 - 3 * 4.4, -60, 55]), "at the same position"),
    "gap": (lambda dataset, k: k != 4, r"not evenly spaced, 8.80 mm after slice 4 (IM"),
    "uneven": (
        set_on(6, ImagePositionPatient=[14 - 6.2 * 4.4, -60, 55]),
        "not evenly spaced, 5.28 mm after slice 6 (",
    ),
    "out of line": (set_on(3, ImagePositionPatient=[14 - 3 * 4.4, -58, 55]), "not in one line"),
    "leaning": (
        lambda d, k: setattr(d, "ImagePositionPatient", [14 - 4.4 * k, -60 + 0.3 * k, 55]),
        "the slice stack is sheared by 3.90 degrees (gantry tilt)",
    ),
    "nowhere": (
        lambda dataset, k: delattr(dataset, "ImagePositionPatient") if k == 3 else None,
        "no position or orientation in the patient for",
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
        assert warnings == (f"the slice stack is sheared by {angle:.2f} degrees; this was ignored",)


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
)
def test_slices_are_put_in_order_along_their_normal(count, seed, apart, turn):
    rng = np.random.default_rng(seed)
    normal = rotation(turn)[:, 2]
    places = apart * np.arange(count) + rng.uniform(-0.04, 0.04, count)
    shuffled = rng.permutation(count)
    positions = np.array([3.0, -4, 5]) + places[shuffled, None] * normal
    order, apart_mm, warnings = stack(positions, normal, [str(k) for k in shuffled])
    assert [int(shuffled[k]) for k in order] == list(range(count))
    assert warnings == ()
    assert np.allclose(
        positions[order] @ normal,
        places[0] + 3 * normal[0] - 4 * normal[1] + 5 * normal[2] + apart_mm * np.arange(count),
        atol=0.1,
    )


@given(st.integers(4, 20), st.data())
def test_any_missing_slice_inside_is_told(count, data):
    gone = data.draw(st.integers(1, count - 2))
    places = [4.0 * k for k in range(count) if k != gone]
    positions = np.outer(places, [1, 0, 0])
    with pytest.raises(Refusal, match=rf"8\.00 mm after slice {gone} \(s{gone - 1}\)"):
        stack(positions, np.array([1.0, 0, 0]), [f"s{round(p / 4)}" for p in places])


@pytest.mark.parametrize("step", [0.7, 1.3])
def test_a_slice_that_lies_more_than_a_tenth_of_a_millimeter_off_is_refused(step):
    places = np.cumsum([0, 1, 1, step, 1, 1])
    with pytest.raises(Refusal, match="not evenly spaced"):
        stack(np.outer(places, [0, 0, 1.0]), np.array([0, 0, 1.0]), list("abcdef"))


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 1, 2, 4, 5, 6], "not evenly spaced, 8.80 mm after slice 3"),
        ([0, 1, 1, 2, 3, 4], "at the same position"),
    ],
)
def test_frames_that_are_no_stack_are_refused(order, said, tmp_path, refused):
    assert said in refused(write_enhanced(tmp_path / "a", scan(), order))


@pytest.mark.parametrize("order", [range(7), range(6, -1, -1), [0, 4, 1, 5, 2, 6, 3], [0, 2, 1, 3, 4, 5, 6]])
def test_frames_may_be_in_any_order(order, tmp_path, read):
    made = read(write_enhanced(tmp_path / "a", scan(), order))
    assert np.array_equal(values(made.image), values(scan()))
    assert made.warnings == ()
    for k in range(7):
        place = scan().TransformIndexToPhysicalPoint((0, 0, k))
        assert np.allclose(made.image.TransformIndexToPhysicalPoint((0, 0, k)), place, atol=1e-3)


def test_frames_without_places_are_refused(tmp_path, refused):
    path = write_enhanced(tmp_path / "exam" / "a", scan())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x30\x00DS"))
    assert "no position or orientation in the patient for" in refused(path)
    path.write_bytes(content)
    shutil.copy(path, path.with_name("b"))
    assert "at the same position" in refused(tmp_path / "exam")


def test_frames_that_are_rescaled_differently_keep_their_values(tmp_path, read):
    path = write_enhanced(tmp_path / "a", scan())
    dataset = dcmread(path)
    for k, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        scale = Dataset()
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = k + 2, -k, "US"
        frame.PixelValueTransformationSequence = [scale]
    dataset.save_as(path)
    number = np.arange(7)[:, None, None]
    assert np.allclose(values(read(path).image), values(scan()) * (number + 2) - number)


@pytest.mark.parametrize("between", [-4.4, 4.4, 99.0])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, 1, -1)])
def test_spacing_between_slices_has_no_say_in_where_they_lie(between, signs, tmp_path, read, monkeypatch):
    """Some versions of ITK mirror a stack whose SpacingBetweenSlices is negative about its first slice."""
    image = scan(SAGITTAL * np.array(signs))
    write_series(tmp_path / "exam", image, SpacingBetweenSlices=between)
    really_read = dicom.read_image

    def misplaced(*arguments):
        read_so = really_read(*arguments)
        read_so.SetOrigin((123.0, 0, 0))
        read_so.SetDirection((-SAGITTAL).ravel().tolist())
        read_so.SetSpacing((9.0, 9.0, 9.0))
        return read_so

    monkeypatch.setattr(dicom, "read_image", misplaced)
    made = read(tmp_path / "exam").image
    for k in range(7):
        place = made.TransformPhysicalPointToContinuousIndex(image.TransformIndexToPhysicalPoint((0, 0, k)))
        assert np.allclose(place[:2], 0, atol=1e-4)
        assert np.array_equal(values(made)[round(place[2])], values(image)[k])
    assert np.allclose(made.GetSpacing(), image.GetSpacing())


@pytest.mark.parametrize("aside", [1, 2])
def test_images_of_another_plane_in_the_series_are_set_aside(aside, tmp_path, read):
    series = write_series(tmp_path / "exam", scan(), study="1.2.3")
    axial = scan(np.eye(3), (70, 64, aside))
    write_series(tmp_path / "exam" / "more", axial, series, "1.2.3")
    made = read(tmp_path / "exam")
    assert np.array_equal(values(made.image), values(scan()))
    (warning,) = made.warnings
    assert warning.startswith(
        f"{aside} images of the series differ from its 7 others in orientation and were"
    )


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ({"PixelPaddingValue": -2000}, -2000),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -2010}, -2005),
        ({"PixelPaddingValue": -2000, "RescaleSlope": 2, "RescaleIntercept": 7}, -2000),
    ],
)
def test_padding_is_no_signal(tags, kept, tmp_path, read):
    image = scan()
    array = values(image)
    array[:, :9] = kept
    padded = sitk.GetImageFromArray(array)
    padded.CopyInformation(image)
    write_series(tmp_path / "exam", padded, **tags)
    slope, intercept = tags.get("RescaleSlope", 1), tags.get("RescaleIntercept", 0)
    lowest = array[:, 9:].min((1, 2)) * slope + intercept
    made = values(read(tmp_path / "exam").image)
    assert np.array_equal(made[:, :9], np.broadcast_to(lowest[:, None, None], made[:, :9].shape))
    assert np.array_equal(made[:, 9:], array[:, 9:] * slope + intercept)


@pytest.mark.parametrize("slopes", [(1, 1), (2, 1), (0.001, 1), (1, 0.001), (0.25, 0.5)])
def test_slices_that_are_rescaled_differently_keep_their_values(slopes, tmp_path, read):
    def rescale(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = slopes[k % 2], 0

    image = scan()
    write_series(tmp_path / "exam", image, change=rescale)
    expected = sitk.GetArrayFromImage(image) * np.array(slopes)[np.arange(image.GetSize()[2]) % 2, None, None]
    assert np.allclose(sitk.GetArrayFromImage(read(tmp_path / "exam").image), expected, rtol=1e-6)
