"""Which slice of a case is shown, how it is turned, and why something cannot be shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import Evaluation, System
from nnunetv2_spinesegdiff.evaluation.report.slices import CaseSlices, NoPicture, files_of, read_slices
from nnunetv2_spinesegdiff.images.orientation import view_of

from ...helpers.evaluations import rising_evaluation
from ...helpers.masks import PIR, SPACING, write_volume
from ...helpers.spider_series import ALL_48, rotation

SYSTEMS = (System("A"), System("B"), System("C"))


@pytest.fixture
def evaluation(tmp_path) -> Evaluation:
    return rising_evaluation(tmp_path, SYSTEMS, cases=1, uncertain=())


def read(evaluation: Evaluation, files: dict[str, Any], **of_systems: dict[str, Any]) -> CaseSlices:
    """Read the only case with other files of all systems, and of single ones."""
    cases = evaluation.cases.astype(
        {name: object for name in ("label", "prediction", "image", "uncertainty")}
    )
    for row in cases.index:
        for column, path in {**files, **of_systems.get(cases.loc[row, "system"], {})}.items():
            cases.at[row, column] = path
    return read_slices(replace(evaluation, cases=cases), "case_0", SYSTEMS, SYSTEMS[0])


@pytest.fixture
def volume(tmp_path) -> tuple[dict[str, np.ndarray], dict[str, Path]]:
    """A case of five sagittal slices, most of which is labeled in the fourth."""
    rng = np.random.default_rng(0)
    label = (rng.random((5, 12, 10)) < np.array([0.1, 0.2, 0.3, 0.9, 0.4])[:, None, None]).astype(np.uint8)
    arrays: dict[str, np.ndarray] = {
        "label": label,
        "image": rng.random((5, 12, 10)).astype(np.float32),
        "prediction": np.roll(label, 1, 1),
        "uncertainty": rng.random((5, 12, 10)).astype(np.float32),
    }
    return arrays, {name: write_volume(array, tmp_path / f"{name}.nii.gz") for name, array in arrays.items()}


def test_the_fullest_slice_is_turned_like_every_other_picture(evaluation, volume):
    arrays, files = volume
    made = read(evaluation, files)
    view = view_of(arrays["label"], np.reshape(PIR, (3, 3)), SPACING[::-1])
    assert (made.view, made.slices) == (view, 5)
    assert made.view.index == 3
    assert made.view.letters == ("H", "F", "A", "P")
    assert made.view.spacing == (0.75, 1.5)
    shown = made.systems["A"]
    assert shown.heatmap is not None
    pairs = {"image": made.image, "label": made.label, "prediction": shown.mask, "uncertainty": shown.heatmap}
    for name, picture in pairs.items():
        assert np.allclose(picture, view.of(arrays[name])), name
    assert (shown.label == made.label).all()
    assert made.remarks == ()


@pytest.mark.parametrize("straight", ALL_48[::12])
@pytest.mark.parametrize("degrees", [0, 17, -25])
def test_an_oblique_mask_is_turned_like_its_image(tmp_path, evaluation, straight, degrees):
    direction, spacing, shape = rotation((degrees, 0, degrees)) @ straight, (0.5, 1.5, 4.0), (7, 8, 9)
    z, y, x = np.indices(shape)
    # Millimeters towards the head.
    values = (np.stack([x, y, z], -1) * spacing) @ direction[2]
    values += 0.01 * np.random.default_rng(0).uniform(size=shape)
    label = (values > np.median(values)).astype(np.uint8)
    arrays = {"image": values.astype(np.float32), "label": label, "prediction": 2 * label}
    files = {
        name: write_volume(array, tmp_path / f"{name}.nii.gz", spacing=spacing, direction=direction)
        for name, array in arrays.items()
    }
    made = read(evaluation, files)
    np.testing.assert_array_equal(made.label, made.image > np.median(values))
    np.testing.assert_array_equal(made.systems["B"].mask, 2 * made.label)
    assert made.image[0].mean() > made.image[-1].mean(), "the head is at the top"
    sagittal = [mm for axis, mm in enumerate(spacing) if abs(straight[0][axis]) < 0.5]
    assert sorted(made.view.spacing) == pytest.approx(sorted(sagittal))


def test_an_empty_label_shows_the_slice_with_most_of_a_mask(tmp_path, evaluation, volume):
    arrays, files = volume
    empty = write_volume(np.zeros_like(arrays["label"]), tmp_path / "empty.nii.gz")
    other = write_volume(arrays["label"] * 2, tmp_path / "other.nii.gz")
    made = read(evaluation, {**files, "label": empty, "uncertainty": None}, B={"label": other})
    assert made.view.index == 3
    assert made.systems["A"].heatmap is None
    assert made.systems["B"].label.max() == 2, "each system with its own label"


def test_pictures_without_a_patient_are_shown_as_they_are(tmp_path, evaluation):
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    files: dict[str, Any] = {"uncertainty": None}
    for name, array in (("image", np.stack([gray, gray * 0, gray * 2], -1)), ("label", gray % 3)):
        files[name] = tmp_path / f"{name}.png"
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 3), str(files[name]))
    made = read(evaluation, {**files, "prediction": files["label"]})
    assert (made.image == gray).all(), "the mean of the channels"
    assert (made.label == gray % 3).all()
    assert made.view.letters == ("", "", "", "")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("unknown", "is not known"),
        ("gone", "gone.nii.gz"),
        ("broken", "broken.nii.gz"),
        ("small", "9 x 12 x 5"),
        ("moved", "not on the grid"),
    ],
)
def test_missing_and_invalid_files_are_reported(tmp_path, evaluation, volume, how, reason):
    """Without scan or label there is no picture; other systems are shown without one that lacks its mask."""
    arrays, files = volume
    bad = tmp_path / f"{how}.nii.gz"
    given = None if how == "unknown" else bad
    if how == "broken":
        bad.write_bytes(b"no image")
    elif how == "small":
        write_volume(np.zeros((5, 12, 9), dtype=np.uint8), bad)
    elif how == "moved":
        write_volume(arrays["label"], bad, (9, 0, 0))
    for column in ("image", "label"):
        with pytest.raises(NoPicture, match=reason) as caught:
            read(evaluation, {**files, column: given})
        assert str(tmp_path) not in str(caught.value)
    made = read(evaluation, files, A={"prediction": given}, C={"uncertainty": given})
    assert list(made.systems) == (["B", "C"] if how == "unknown" else ["B"])
    for remark, system in zip(made.remarks, "AC", strict=False):
        assert remark.startswith(f"{system} is not shown")
        assert reason in remark


def test_cases_that_a_system_did_not_predict(evaluation):
    with pytest.raises(NoPicture, match="files are not known"):
        read_slices(evaluation, "case_1", SYSTEMS, SYSTEMS[0])
    some = replace(evaluation, cases=evaluation.cases[evaluation.cases["system"] != "B"])
    assert list(files_of(some, "case_0")) == ["A", "C"]
    assert list(read_slices(some, "case_0", SYSTEMS, SYSTEMS[2]).systems) == ["A", "C"]
