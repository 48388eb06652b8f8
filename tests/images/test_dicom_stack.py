"""Slices and frames that are no volume."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.images import dicom
from nnunetv2_spinesegdiff.images.dicom import stack
from nnunetv2_spinesegdiff.images.scan import Refusal

from ..helpers.scan_files import (
    SAGITTAL,
    item,
    scan,
    values,
    with_values,
    write_enhanced,
    write_series,
    zipped,
)
from ..helpers.spider_series import rotation

OTHER = rotation((1, 2, 0)) @ SAGITTAL


def set_on(k: int, **tags):
    """A change of one slice."""

    def change(dataset, index):
        for name, value in tags.items() if index == k else ():
            setattr(dataset, name, value)

    return change


def imager_spacing(dataset, _: int) -> None:
    dataset.ImagerPixelSpacing = dataset.PixelSpacing
    del dataset.PixelSpacing


def at(x: float, y: float) -> list[float]:
    """ImagePositionPatient `x` slices from the first one."""
    return [14 - 4.4 * x, -60 + y, 55]


MIXED = {
    "spacing": (set_on(2, PixelSpacing=[1.8, 1.9]), "in spacing and were set aside: IM"),
    "orientation": (
        set_on(2, ImageOrientationPatient=[float(v) for v in OTHER[:, :2].T.ravel()]),
        "in orientation and were set aside: IM",
    ),
    "size": (set_on(2, Rows=32, PixelData=bytes(70 * 32 * 2)), "in size and were set aside: IM"),
    "no pixel spacing": (lambda dataset, k: delattr(dataset, "PixelSpacing"), "no PixelSpacing for"),
    "detector's spacing": (imager_spacing, "no PixelSpacing for"),
    "duplicates": (set_on(2, ImagePositionPatient=at(3, 0)), "at the same position"),
    "gap": (lambda dataset, k: k != 4, "not evenly spaced, 8.80 mm after slice 4 (IM"),
    "a little uneven": (set_on(3, ImagePositionPatient=at(3.03, 0)), "not evenly spaced"),
    "uneven": (set_on(6, ImagePositionPatient=at(6.2, 0)), "not evenly spaced, 5.28 mm after slice 6 ("),
    "out of line": (set_on(3, ImagePositionPatient=at(3, 2)), "not in one line"),
    "leaning": (
        lambda d, k: setattr(d, "ImagePositionPatient", at(k, 0.3 * k)),
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
    path = write_series(tmp_path / "exam", scan(), change=change)
    assert said in refused(zipped(path, tmp_path / "exam.zip") if packed else path)


@pytest.mark.parametrize(("aside", "warned"), [(0.0005, False), (0.02, True), (0.07, True)])
def test_slices_that_lean_over_a_little_are_read(aside, warned, tmp_path, read):
    def lean(dataset, k):
        dataset.ImagePositionPatient = at(k, aside * k)

    degrees = np.degrees(np.arctan(aside / 4.4))
    warning = f"the slice stack is sheared by {degrees:.2f} degrees; this was ignored"
    made = read(write_series(tmp_path / "exam", scan(), change=lean))
    assert made.warnings == ((warning,) if warned else ())


def test_a_copy_of_a_slice_is_refused_by_name(tmp_path, refused):
    file = sorted(write_series(tmp_path / "exam", scan()).iterdir())[0]
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
    first = np.array([3.0, -4, 5])
    positions = first + places[shuffled, None] * normal
    order, apart_mm, warnings = stack(positions, normal, [str(k) for k in shuffled])
    assert [int(shuffled[k]) for k in order] == list(range(count))
    assert warnings == []
    expected = places[0] + first @ normal + apart_mm * np.arange(count)
    assert np.allclose(positions[order] @ normal, expected, atol=0.1)


@given(st.integers(4, 20), st.data())
def test_any_missing_slice_inside_is_told(count, data):
    gone = data.draw(st.integers(1, count - 2))
    places = [4.0 * k for k in range(count) if k != gone]
    with pytest.raises(Refusal, match=rf"8\.00 mm after slice {gone} \(s{gone - 1}\)"):
        stack(np.outer(places, [1, 0, 0]), np.array([1.0, 0, 0]), [f"s{round(p / 4)}" for p in places])


@pytest.mark.parametrize("order", [range(7), range(6, -1, -1), [0, 4, 1, 5, 2, 6, 3], [0, 2, 1, 3, 4, 5, 6]])
def test_frames_may_be_in_any_order(order, tmp_path, read):
    made = read(write_enhanced(tmp_path / "a", scan(), order))
    assert np.array_equal(values(made.image), values(scan()))
    assert made.warnings == ()
    for k in range(7):
        place = scan().TransformIndexToPhysicalPoint((0, 0, k))
        assert np.allclose(made.image.TransformIndexToPhysicalPoint((0, 0, k)), place, atol=1e-3)


def test_frames_that_are_no_stack_are_refused(tmp_path, refused):
    path = write_enhanced(tmp_path / "exam" / "a", scan())
    shutil.copy(path, path.with_name("b"))
    assert "at the same position" in refused(tmp_path / "exam")
    path.write_bytes(path.read_bytes().replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x30\x00DS"))
    assert "no position or orientation in the patient for" in refused(path)
    missing = write_enhanced(tmp_path / "c", scan(), [0, 1, 2, 4, 5, 6])
    assert "not evenly spaced, 8.80 mm after slice 3" in refused(missing)
    assert "at the same position" in refused(write_enhanced(tmp_path / "d", scan(), [0, 1, 1, 2, 3, 4]))


def test_frames_that_are_rescaled_differently_keep_their_values(tmp_path, read):
    def rescale(frame, k):
        scale = item(RescaleSlope=k + 2, RescaleIntercept=-k, RescaleType="US")
        frame.PixelValueTransformationSequence = scale

    number = np.arange(7)[:, None, None]
    made = read(write_enhanced(tmp_path / "a", scan(), change=rescale))
    assert np.allclose(values(made.image), values(scan()) * (number + 2) - number)


@pytest.mark.parametrize("between", [-4.4, 4.4, 99.0])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, 1, -1)])
def test_spacing_between_slices_has_no_say_in_where_they_lie(between, signs, tmp_path, read, monkeypatch):
    """Some versions of ITK mirror a stack whose SpacingBetweenSlices is negative about its first slice."""
    really_read = dicom.read_image

    def misplaced(*arguments):
        read_so = really_read(*arguments)
        read_so.SetOrigin((123.0, 0, 0))
        read_so.SetDirection((-SAGITTAL).ravel().tolist())
        read_so.SetSpacing((9.0, 9.0, 9.0))
        return read_so

    monkeypatch.setattr(dicom, "read_image", misplaced)
    image = scan(SAGITTAL * np.array(signs))
    made = read(write_series(tmp_path / "exam", image, SpacingBetweenSlices=between)).image
    for k in range(7):
        place = made.TransformPhysicalPointToContinuousIndex(image.TransformIndexToPhysicalPoint((0, 0, k)))
        assert np.allclose(place[:2], 0, atol=1e-4)
        assert np.array_equal(values(made)[round(place[2])], values(image)[k])
    assert np.allclose(made.GetSpacing(), image.GetSpacing())


@pytest.mark.parametrize("aside", [1, 2])
def test_images_of_another_plane_in_the_series_are_set_aside(aside, tmp_path, read):
    write_series(tmp_path / "exam", scan(), "1.5.1", "1.2.3")
    write_series(tmp_path / "exam" / "more", scan(np.eye(3), (70, 64, aside)), "1.5.1", "1.2.3")
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
    array = values(scan())
    array[:, :9] = kept
    made = values(read(write_series(tmp_path / "exam", with_values(array), **tags)).image)
    slope, intercept = tags.get("RescaleSlope", 1), tags.get("RescaleIntercept", 0)
    lowest = array[:, 9:].min((1, 2)) * slope + intercept
    assert np.array_equal(made[:, :9], np.broadcast_to(lowest[:, None, None], made[:, :9].shape))
    assert np.array_equal(made[:, 9:], array[:, 9:] * slope + intercept)


@pytest.mark.parametrize("slopes", [(1, 1), (2, 1), (0.001, 1), (1, 0.001), (0.25, 0.5)])
def test_slices_that_are_rescaled_differently_keep_their_values(slopes, tmp_path, read):
    def rescale(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = slopes[k % 2], 0

    made = values(read(write_series(tmp_path / "exam", scan(), change=rescale)).image)
    assert np.allclose(made, values(scan()) * np.array(slopes)[np.arange(7) % 2, None, None], rtol=1e-6)
