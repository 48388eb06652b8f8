"""Matching of instances and panoptic quality: against loops over voxels, panoptica's numbers, and by hand."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnunetv2_spinesegdiff.evaluation.comparisons import mean_interval
from nnunetv2_spinesegdiff.evaluation.instances import (
    instances_in,
    level_name,
    level_table,
    match_instances,
    panoptic_table,
)
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import CASE_COLUMNS, INSTANCE_COLUMNS

SPACING = (4.0, 1.5, 0.5)
NAME = ("A", "")


def blocks(*numbers: int, height: int = 8) -> np.ndarray:
    """(1, H, 12) with one block per number, two rows apart."""
    array = np.zeros((1, len(numbers) * (height + 2), 12), int)
    for place, number in enumerate(numbers):
        top = place * (height + 2) + 1
        array[0, top : top + height, 2:10] = number
    return array


def brute_force(truth: np.ndarray, prediction: np.ndarray) -> tuple[set, set, set]:
    """Matches as (number, number, Dice, IoU), missed and false numbers, from sets of voxels."""
    voxels = {}
    for side, array in (("t", truth), ("p", prediction)):
        for index in product(*map(range, array.shape)):
            if array[index]:
                voxels.setdefault((side, int(array[index])), set()).add(index)
    true, predicted = ({n for s, n in voxels if s == side} for side in "tp")
    matches = set()
    for a, b in product(true, predicted):
        ours, theirs = voxels["t", a], voxels["p", b]
        iou = len(ours & theirs) / len(ours | theirs)
        if iou > 0.5:
            dice = 2 * len(ours & theirs) / (len(ours) + len(theirs))
            matches.add((a, b, round(dice, 9), round(iou, 9)))
    return matches, true - {a for a, *_ in matches}, predicted - {b for _, b, *_ in matches}


def outcome(rows: list[dict]) -> tuple[set, set, set]:
    of = {found: [row for row in rows if row["found"] == found] for found in ("both", "missed", "false")}
    both = {
        (row["number"], row["predicted_number"], round(row["dice"], 9), round(row["jaccard"], 9))
        for row in of["both"]
    }
    return both, {row["number"] for row in of["missed"]}, {row["predicted_number"] for row in of["false"]}


def table_of(rows: list[dict], case: str = "a", patient: str = "1", structure: str = "ivd") -> pd.DataFrame:
    origin = dict(zip(CASE_COLUMNS, (*NAME, "", case, patient, "T2w", "2D"), strict=True))
    rows = [{**origin, "structure": structure, **row} for row in rows]
    return pd.DataFrame(rows, columns=list(INSTANCE_COLUMNS))


def quality(truth: np.ndarray, prediction: np.ndarray) -> dict:
    (row,) = panoptic_table(table_of(match_instances(truth, prediction, SPACING)), [NAME]).to_dict("records")
    return row


maps = arrays(np.int64, (2, 4, 3), elements=st.integers(0, 3))


@given(truth=maps, prediction=maps)
@settings(max_examples=150, deadline=None)
def test_matches_are_those_of_sets_of_voxels(truth, prediction):
    rows = match_instances(truth, prediction, SPACING)
    assert outcome(rows) == brute_force(truth, prediction)
    assert len(rows) == sum(map(len, outcome(rows)))


@given(truth=maps, prediction=maps, order=st.permutations([1, 2, 3]))
@settings(max_examples=50, deadline=None)
def test_numbers_of_the_prediction_only_change_the_numbers(truth, prediction, order):
    renamed = np.array([0, *order])[prediction]
    free = ["number", "dice", "jaccard", "found", "predicted_mm3", "true_mm3"]
    first, second = (
        pd.DataFrame(match_instances(truth, mask, SPACING), columns=[*free, "predicted_number"])
        for mask in (prediction, renamed)
    )
    keys = ["found", "number", "predicted_mm3"]
    first, second = (table.sort_values(keys, ignore_index=True) for table in (first, second))
    pd.testing.assert_frame_equal(first[free], second[free])
    both = first["found"] == "both"
    expected = [order[number - 1] for number in first.loc[both, "predicted_number"].astype(int)]
    assert second.loc[both, "predicted_number"].tolist() == expected


@pytest.mark.parametrize("numbers", list(permutations((1, 2, 4)))[:4])
def test_the_same_instances_have_a_quality_of_one(numbers):
    row = quality(blocks(*numbers), blocks(*numbers))
    assert all(row[name] == 1 for name in ("pq", "rq", "sq", "sq_dice", "number_right"))
    assert (row["tp"], row["fp"], row["fn"]) == (3, 0, 0)
    assert quality(blocks(1, 2, 3), blocks(2, 1, 3))["number_right"] == pytest.approx(1 / 3)
    assert quality(blocks(1, 2, 3), blocks(2, 1, 3))["pq"] == 1


def test_a_missing_an_additional_and_a_merged_instance():
    missing = quality(blocks(1, 2, 3), blocks(1, 0, 3))
    assert (missing["tp"], missing["fp"], missing["fn"]) == (2, 0, 1)
    assert (missing["rq"], missing["sq"], missing["pq"]) == pytest.approx((2 / 2.5, 1, 2 / 2.5))
    more = quality(blocks(1, 0, 3), blocks(1, 2, 3))
    assert (more["tp"], more["fp"], more["fn"]) == (2, 1, 0)
    touching = np.repeat(np.array([1] * 9 + [2] * 6 + [3] * 8)[None, :, None], 5, axis=2)
    merged = np.where(touching == 2, 1, touching)
    rows = match_instances(touching, merged, SPACING)
    assert outcome(rows) == ({(1, 1, 0.75, 0.6), (3, 3, 1.0, 1.0)}, {2}, set())
    equal = match_instances(np.where(touching == 3, 0, touching), np.full(touching.shape, 1), SPACING)
    assert outcome(equal) == (set(), {1, 2}, {1})


def test_an_iou_of_one_half_is_no_match():
    truth, prediction = np.zeros((2, 1, 6, 1), int)
    truth[0, :3], prediction[0, 1:4] = 1, 1
    assert outcome(match_instances(truth, prediction, SPACING)) == (set(), {1}, {1})


def test_empty_masks_have_no_rows_and_wrong_shapes_are_rejected():
    nothing = np.zeros((1, 3, 3), int)
    assert match_instances(nothing, nothing, SPACING) == []
    assert panoptic_table(table_of([]), [NAME]).empty
    assert level_table(table_of([]), [NAME]).empty
    with pytest.raises(ValueError, match="shape"):
        match_instances(nothing, nothing[:, 1:], SPACING)


def test_no_match_has_a_quality_of_zero_and_no_segmentation_quality():
    row = quality(blocks(1, 0), blocks(0, 1))
    assert (row["pq"], row["rq"]) == (0, 0)
    assert np.isnan([row["sq"], row["sq_dice"], row["number_right"]]).all()


def test_ignored_voxels_count_for_nobody():
    truth, prediction = blocks(1, 2, 0), blocks(1, 2, 3)
    ignored = np.zeros(truth.shape, bool)
    ignored[:, :, 6:] = True
    rows = match_instances(truth, prediction, SPACING, ignored)
    assert outcome(rows) == ({(1, 1, 1.0, 1.0), (2, 2, 1.0, 1.0)}, set(), {3})
    assert [row["predicted_mm2"] for row in rows] == [8 * 4 * 0.75] * 3
    ignored[:, :, 5:] = True
    assert outcome(match_instances(truth, prediction, SPACING, ignored))[2] == set()


def test_sizes_are_in_mm_of_slices_and_volumes():
    (area,) = match_instances(blocks(1), blocks(1), SPACING)
    assert (area["true_mm2"], area["predicted_mm2"]) == (64 * 0.75, 64 * 0.75)
    assert np.isnan([area["true_mm3"], area["predicted_mm3"]]).all()
    (volume,) = match_instances(*[np.repeat(blocks(1), 3, axis=0)] * 2, SPACING)
    assert volume["true_mm3"] == 3 * 64 * 3
    assert np.isnan(volume["true_mm2"])


def test_the_numbers_of_panoptica():
    """Of panoptica 2.1.7 (NaiveThresholdMatching, 0.5): TP, FP, FN, RQ, SQ by IoU and by Dice, PQ."""
    truth, prediction = np.zeros((2, 1, 62, 20), int)
    for place, (up, less, number) in enumerate(
        [(0, 0, 4), (1, 2, 5), (3, 1, 3), (-1, 0, 9), (-2, 3, 1), (4, 0, 7)]
    ):
        top = 10 * place + 1
        truth[0, top : top + 8, 3:15] = place + 1
        prediction[0, max(top + up, 0) : top + up + 8, 3 + less : 15] = number
    row = quality(truth, prediction)
    expected = (4, 2, 2, 0.6666666666666666, 0.7380434569642822, 0.8373667227833894, 0.49202897130952145)
    assert [row[name] for name in ("tp", "fp", "fn", "rq", "sq", "sq_dice", "pq")] == pytest.approx(expected)


def test_numbers_of_structures_and_names_of_levels():
    numbers = np.array([0, 1, 25, 100, 101, 125, 201, 225, 255, 90])
    assert instances_in(numbers, "vertebrae").tolist() == [0, 1, 25, 0, 1, 25, 0, 0, 0, 0]
    assert instances_in(numbers, "ivd").tolist() == [0, 0, 0, 0, 0, 0, 201, 225, 0, 0]
    assert [level_name(n) for n in (1, 5, 6, 25, 201, 206, 225)] == [
        *("L5", "L1", "T12", "S1", "L5-S1", "T12-L1", "S1-S2")
    ]


def cohort() -> pd.DataFrame:
    """Seven patients, the first with two cases. Patient p misses the second disc if p is even."""
    parts = []
    for patient in range(1, 8):
        second = 0 if patient % 2 == 0 else 202
        rows = match_instances(blocks(201, 202), blocks(201, second), SPACING)
        parts.append(table_of(rows, f"{patient}_t1", str(patient)))
    parts.append(table_of(match_instances(blocks(201, 0), blocks(0, 201), SPACING), "1_t2", "1"))
    return pd.concat(parts, ignore_index=True)


def test_cases_of_a_patient_are_averaged_before_patients():
    (row,) = panoptic_table(cohort(), [NAME]).to_dict("records")
    expected = np.array([0.5, 2 / 3, 1, 2 / 3, 1, 2 / 3, 1])
    assert row["pq"] == pytest.approx(expected.mean())
    assert (row["pq_low"], row["pq_high"]) == pytest.approx(np.clip(mean_interval(expected), 0, 1))
    assert (row["cases"], row["patients"], row["tp"], row["fp"], row["fn"]) == (8, 7, 11, 1, 4)
    assert row["sq"] == 1, "the case without a match has none"
    levels = level_table(cohort(), [NAME]).set_index("number")
    assert levels.loc[201, ["level_name", "cases", "patients", "missed"]].tolist() == ["L5-S1", 8, 7, 1]
    assert levels.loc[201, "dice"] == pytest.approx((0.5 + 6) / 7)
    assert levels.loc[202, "dice"] == pytest.approx(4 / 7)
    few = cohort()[lambda rows: rows["patient"] < "5"]
    assert np.isnan(panoptic_table(few, [NAME]).loc[0, "pq_low"])
