"""From files to rows of slices: the same place, the same turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.case_rows import case_row, cases_of, worst_cases
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import Evaluation, System

from ...helpers.evaluations import rising_evaluation
from ...helpers.masks import write_volume
from ...helpers.spider_series import ALL_48, rotation


def with_files(evaluation: Evaluation, case: str, **files: Path | None) -> Evaluation:
    cases = evaluation.cases.copy()
    for column, path in files.items():
        rows = cases.index[cases["case"] == case]
        cases[column] = cases[column].astype(object)
        cases.loc[rows, column] = path
    return replace(evaluation, cases=cases)


@pytest.mark.parametrize("straight", ALL_48[::12])
@pytest.mark.parametrize("degrees", [0, 17, -25])
def test_an_oblique_mask_is_turned_like_its_image(tmp_path, straight, degrees):
    direction, spacing, shape = rotation((degrees, 0, degrees)) @ straight, (0.5, 1.5, 4.0), (7, 8, 9)
    z, y, x = np.indices(shape)
    # Millimeters towards the head.
    values = (np.stack([x, y, z], -1) * spacing) @ direction[2]
    values += 0.01 * np.random.default_rng(0).uniform(size=shape)
    label = (values > np.median(values)).astype(np.uint8)
    arrays = {"image": values.astype(np.float32), "label": label, "prediction": 2 * label}
    arrays["uncertainty"] = label * np.float32(0.1)
    files = {
        name: write_volume(array, tmp_path / f"{name}.nii.gz", spacing=spacing, direction=direction)
        for name, array in arrays.items()
    }
    evaluation = with_files(rising_evaluation(tmp_path), "case_1", **files)
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
    sagittal = [mm for axis, mm in enumerate(spacing) if abs(straight[0][axis]) < 0.5]
    assert sorted(row.spacing) == pytest.approx(sorted(sagittal))


def test_of_a_volume_the_slice_with_most_of_the_label_is_shown(tmp_path):
    label = np.zeros((6, 8, 5), dtype=np.uint8)
    label[:, 2, 1], label[:, 3:5, 3] = 1, 2
    file = write_volume(label, tmp_path / "label.nii.gz", direction=np.eye(3))
    evaluation = with_files(
        rising_evaluation(tmp_path), "case_0", label=file, prediction=file, image=file, uncertainty=None
    )
    row = case_row(evaluation, evaluation.systems, "case_0", evaluation.systems[1])
    assert not isinstance(row, str)
    assert np.unique(row.image).tolist() == [0, 2]
    assert row.uncertainty is None
    for system in evaluation.systems:
        own = evaluation.of(system)
        assert row.dice[system.label] == pytest.approx(own.loc[own["case"] == "case_0", "dice"].mean())


def test_missing_scans_masks_and_cases_are_reported(tmp_path):
    evaluation = rising_evaluation(tmp_path)
    gone = with_files(evaluation, "case_0", image=tmp_path / "gone.nii.gz")
    for of, case, reason in (
        (with_files(evaluation, "case_0", image=None), "case_0", "no image"),
        (gone, "case_0", "gone.nii.gz"),
        (evaluation, "case_9", "none of the systems"),
    ):
        row = case_row(of, of.systems, case, None)
        assert isinstance(row, str)
        assert reason in row
    cases = evaluation.cases
    some = replace(evaluation, cases=cases[~((cases["system"] == "stage 1") & (cases["case"] == "case_1"))])
    row = case_row(some, some.systems, "case_1", None)
    assert not isinstance(row, str)
    assert (row.masks["stage 1"] is None, row.masks["refined"] is None) == (True, False)


@pytest.mark.parametrize("file", ["image", "label", "prediction", "uncertainty"])
def test_files_that_lie_elsewhere_or_are_missing_are_named(tmp_path, file):
    evaluation = rising_evaluation(tmp_path)
    system = evaluation.systems[1]
    elsewhere = write_volume(np.zeros((1, 32, 32), np.float32), tmp_path / "elsewhere.nii.gz", (9, 0, 0))
    with pytest.raises(UserError, match=r"\.nii\.gz: is not on the grid of .*\.nii\.gz"):
        case_row(with_files(evaluation, "case_0", **{file: elsewhere}), (system,), "case_0", system)
    if file != "image":
        missing = with_files(evaluation, "case_0", **{file: tmp_path / "gone.nii.gz"})
        with pytest.raises(UserError, match=r"gone\.nii\.gz: no such file"):
            case_row(missing, (system,), "case_0", system)


def test_the_worst_cases_are_those_of_lowest_mean_and_never_without_dice(tmp_path):
    evaluation = rising_evaluation(tmp_path, cases=6)
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
    table = cases_of(rising_evaluation(tmp_path, systems), systems[1:])
    assert table["label_of"].unique().tolist() == ["refined (T2w)"]
    assert len(table) == 4
