"""Which slice of a case is shown, how it lies, and why something cannot be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.evaluation.report.slices import NoPicture, SystemFiles, read_slices
from nnunetv2_spinesegdiff.images.orientation import view_of

from ...helpers.masks import PIR, SPACING, write_volume


@pytest.fixture
def volume(tmp_path):
    """A case of five sagittal slices, most of which is labelled in the fourth."""
    rng = np.random.default_rng(0)
    label = (rng.random((5, 12, 10)) < np.array([0.1, 0.2, 0.3, 0.9, 0.4])[:, None, None]).astype(np.uint8)
    arrays: dict[str, np.ndarray] = {
        "label": label,
        "image": rng.random((5, 12, 10)).astype(np.float32),
        "mask": np.roll(label, 1, 1),
        "heat": rng.random((5, 12, 10)).astype(np.float32),
    }
    paths = {name: write_volume(array, tmp_path / f"{name}.nii.gz") for name, array in arrays.items()}
    return arrays, paths


def test_the_fullest_slice_is_turned_like_every_other_picture(volume):
    arrays, paths = volume
    files = SystemFiles(paths["label"], paths["mask"], paths["heat"])
    made = read_slices(paths["image"], paths["label"], {"A": files})
    view = view_of(arrays["label"], np.reshape(PIR, (3, 3)), SPACING[::-1])
    assert (made.view, made.slices) == (view, 5)
    assert made.view.index == 3
    assert made.view.letters == ("H", "F", "A", "P")
    assert made.view.spacing == (0.75, 1.5)
    shown = made.systems["A"]
    assert shown.heatmap is not None
    pairs = {"image": made.image, "label": made.label, "mask": shown.mask, "heat": shown.heatmap}
    for name, picture in pairs.items():
        assert np.allclose(picture, view.of(arrays[name])), name
    assert (shown.label == made.label).all()
    assert made.remarks == ()


def test_an_empty_label_shows_the_slice_with_most_of_a_mask(volume, tmp_path):
    arrays, paths = volume
    empty = write_volume(np.zeros_like(arrays["label"]), tmp_path / "empty.nii.gz")
    made = read_slices(paths["image"], empty, {"A": SystemFiles(empty, paths["mask"], None)})
    assert made.view.index == 3
    assert made.systems["A"].heatmap is None
    other = write_volume(arrays["label"] * 2, tmp_path / "other.nii.gz")
    made = read_slices(paths["image"], paths["label"], {"A": SystemFiles(other, paths["mask"], None)})
    assert (made.systems["A"].label == 2 * made.label).all(), "each system with its own label"


def flat(path: Path, array: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 3), str(path))
    return path


def test_pictures_without_a_patient_are_shown_as_they_lie(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = flat(tmp_path / "image.png", np.stack([grey, grey * 0, grey * 2], -1))
    label = flat(tmp_path / "label.png", grey % 3)
    made = read_slices(image, label, {"A": SystemFiles(label, label, None)})
    assert (made.image == grey).all(), "the mean of the channels"
    assert (made.label == grey % 3).all()
    assert made.view.letters == ("", "", "", "")


@pytest.mark.parametrize("what", ["scan", "label"])
@pytest.mark.parametrize("how", ["unknown", "gone", "broken", "other size"])
def test_without_scan_or_label_there_is_no_picture(volume, tmp_path, what, how):
    _, paths = volume
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    small = write_volume(np.zeros((5, 12, 9), dtype=np.uint8), tmp_path / "small.nii.gz")
    bad, reason = {
        "unknown": (None, f"the {what}"),
        "gone": (tmp_path / "gone.nii.gz", "gone.nii.gz"),
        "broken": (broken, "broken.nii.gz"),
        "other size": (small, "9 x 12 x 5"),
    }[how]
    image, label = (bad, paths["label"]) if what == "scan" else (paths["image"], bad)
    with pytest.raises(NoPicture, match=reason) as caught:
        read_slices(image, label, {})
    assert str(tmp_path) not in str(caught.value)


def test_systems_that_cannot_be_shown_are_reported_and_the_others_are_shown(volume, tmp_path):
    _, paths = volume
    good = SystemFiles(paths["label"], paths["mask"], None)
    gone = SystemFiles(paths["label"], tmp_path / "gone.nii.gz", None)
    small = write_volume(np.zeros((1, 12, 10), dtype=np.float32), tmp_path / "small.nii.gz")
    other = SystemFiles(paths["label"], paths["mask"], small)
    made = read_slices(paths["image"], paths["label"], {"A": gone, "B": good, "C": other})
    assert list(made.systems) == ["B"]
    for remark, system, reason in zip(made.remarks, "AC", ("gone.nii.gz", "10 x 12 x 1"), strict=True):
        assert remark.startswith(system)
        assert reason in remark
