"""From files to rows of slices: the same place, the same turn."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.case_rows import case_row, cases_of, worst_cases
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import Evaluation, System, write_evaluation

from .small_evaluation import write_image, write_small_evaluation

STRAIGHT = [
    np.eye(3)[list(axes)] * signs for axes in permutations(range(3)) for signs in product([1, -1], repeat=3)
]


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def heights(shape: tuple[int, ...], direction: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """mm towards the head, of every voxel (Z, Y, X)."""
    z, y, x = np.indices(shape)
    steps = np.stack([x, y, z], -1) * spacing
    return steps @ direction[2]


def with_files(evaluation: Evaluation, case: str, **files: Path | None) -> Evaluation:
    cases = evaluation.cases.copy()
    for column, path in files.items():
        rows = cases.index[cases["case"] == case]
        cases[column] = cases[column].astype(object)
        cases.loc[rows, column] = path
    return replace(evaluation, cases=cases)


@pytest.mark.parametrize("straight", STRAIGHT[::7])
@pytest.mark.parametrize("degrees", [0, 17, -25])
def test_an_oblique_mask_is_turned_like_its_image(tmp_path, straight, degrees):
    direction, spacing, shape = turned(degrees) @ straight, (0.5, 1.5, 4.0), (7, 8, 9)
    values = heights(shape, direction, spacing) + 0.01 * np.random.default_rng(0).uniform(size=shape)
    label = (values > np.median(values)).astype(np.uint8)
    files = {
        name: write_image(
            tmp_path / f"{name}.nii.gz", array, spacing, direction=direction, origin=(3, -40, 7)
        )
        for name, array in {
            "image": values.astype(np.float32),
            "label": label,
            "prediction": 2 * label,
            "uncertainty": label * np.float32(0.1),
        }.items()
    }
    evaluation = with_files(write_small_evaluation(tmp_path), "case_1", **files)
    row = case_row(evaluation, evaluation.systems, "case_1", evaluation.systems[1])
    assert not isinstance(row, str)
    assert list(row.masks) == ["truth", "stage 1", "refined"]
    truth, refined = row.masks["truth"], row.masks["refined"]
    assert truth is not None
    assert row.uncertainty is not None
    np.testing.assert_array_equal(truth, row.image > np.median(values))
    np.testing.assert_array_equal(refined, 2 * truth)
    np.testing.assert_allclose(row.uncertainty, truth * 0.1, rtol=1e-6)
    assert row.image[0].mean() > row.image[-1].mean(), "the head is at the top"
    sagittal = [
        size for axis, size in zip("xyz", spacing, strict=True) if abs(straight[0]["xyz".index(axis)]) < 0.5
    ]
    assert sorted(row.spacing) == pytest.approx(sorted(sagittal))


def test_of_a_volume_the_slice_with_most_of_the_label_is_shown(tmp_path):
    label = np.zeros((6, 8, 5), dtype=np.uint8)
    label[:, 2, 1], label[:, 3:5, 3] = 1, 2
    file = write_image(tmp_path / "label.nii.gz", label)
    evaluation = with_files(
        write_small_evaluation(tmp_path), "case_0", label=file, prediction=file, image=file, uncertainty=None
    )
    row = case_row(evaluation, evaluation.systems, "case_0", evaluation.systems[1])
    assert not isinstance(row, str)
    assert np.unique(row.image).tolist() == [0, 2]
    assert row.uncertainty is None


def test_the_row_tells_each_systems_mean_dice(tmp_path):
    evaluation = write_small_evaluation(tmp_path)
    row = case_row(evaluation, evaluation.systems, "case_2", None)
    assert not isinstance(row, str)
    for system in evaluation.systems:
        dice = [
            r.dice for r in evaluation.scores.itertuples() if (r.system, r.case) == (system.name, "case_2")
        ]
        assert row.dice[system.label] == pytest.approx(sum(dice) / 3)


def test_a_case_that_cannot_be_shown_says_why(tmp_path):
    evaluation = write_small_evaluation(tmp_path)
    gone = with_files(evaluation, "case_0", image=tmp_path / "gone.nii.gz")
    for of, case, reason in (
        (with_files(evaluation, "case_0", image=None), "case_0", "no image"),
        (gone, "case_0", "gone.nii.gz is not there"),
        (evaluation, "case_9", "none of the systems predicted"),
    ):
        row = case_row(of, of.systems, case, None)
        assert isinstance(row, str)
        assert reason in row


def test_a_system_that_did_not_predict_a_case_shows_none(tmp_path):
    evaluation = write_small_evaluation(tmp_path)
    cases = evaluation.cases
    some = replace(evaluation, cases=cases[~((cases["system"] == "stage 1") & (cases["case"] == "case_1"))])
    row = case_row(some, some.systems, "case_1", None)
    assert not isinstance(row, str)
    assert row.masks["stage 1"] is None
    assert row.masks["refined"] is not None


@pytest.mark.parametrize("file", ["image", "prediction", "uncertainty"])
def test_a_file_that_lies_elsewhere_is_named(tmp_path, file):
    evaluation = write_small_evaluation(tmp_path)
    elsewhere = write_image(
        tmp_path / "elsewhere.nii.gz", np.zeros((1, 24, 20), np.float32), origin=(5, 0, 0)
    )
    evaluation = with_files(evaluation, "case_0", **{file: elsewhere})
    with pytest.raises(UserError, match=r"elsewhere\.nii\.gz: is not on the grid of .*case_0\.nii\.gz"):
        case_row(evaluation, evaluation.systems, "case_0", evaluation.systems[1])


@pytest.mark.parametrize("file", ["label", "prediction", "uncertainty"])
def test_a_missing_file_other_than_the_image_is_an_error(tmp_path, file):
    evaluation = with_files(write_small_evaluation(tmp_path), "case_0", **{file: tmp_path / "gone.nii.gz"})
    with pytest.raises(UserError, match=r"gone\.nii\.gz: no such file"):
        case_row(evaluation, evaluation.systems, "case_0", evaluation.systems[1])


def test_the_worst_cases_are_those_of_lowest_mean_and_never_without_dice(tmp_path):
    evaluation = write_small_evaluation(tmp_path, cases=6)
    scores = evaluation.scores.copy()
    refined = scores["system"] == "refined"
    scores.loc[refined & (scores["case"] == "case_0"), "dice"] = np.nan
    scores.loc[refined & (scores["case"] == "case_1") & (scores["structure"] == "ivd"), "dice"] = np.nan
    scores.loc[refined & (scores["case"] == "case_4"), "dice"] = 0.0
    evaluation = replace(evaluation, scores=scores)
    assert worst_cases(evaluation, evaluation.systems[1], 3) == ["case_4", "case_1", "case_2"]
    assert len(worst_cases(evaluation, evaluation.systems[1], 99)) == 5
    assert worst_cases(evaluation, evaluation.systems[1], 0) == []


def test_cases_of_keeps_systems_of_the_same_name_apart(tmp_path):
    systems = (System("refined", "T1w"), System("refined", "T2w"))
    evaluation = write_small_evaluation(tmp_path, systems)
    write_evaluation(evaluation)
    table = cases_of(evaluation, systems[1:])
    assert table["label_of"].unique().tolist() == ["refined (T2w)"]
    assert len(table) == 4
