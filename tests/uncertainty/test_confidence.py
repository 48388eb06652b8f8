"""Sizes, entropies and agreement of the stages, against loops over voxels and masks made by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.uncertainty.confidence import (
    Structures,
    agreement_limit,
    boundary,
    structure_rows,
    write_confidence,
)

SPACING = (4.0, 0.5, 0.7)
STRUCTURES: Structures = {"canal": 1, "bone": 2, "spine": (1, 2, 3), "absent": 9}


def random_case(shape: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask, entropy of four structures and stage 1's mask."""
    random = np.random.default_rng(seed)
    mask, stage1 = (random.choice(4, size=shape, p=[0.6, 0.2, 0.1, 0.1]) for _ in range(2))
    return mask, random.uniform(0, 1 / np.e, (4, *shape)), np.where(random.random(shape) < 0.8, mask, stage1)


def neighbours(index: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    found = []
    for axis in range(len(shape)):
        for step in (-1, 1):
            other = list(index)
            other[axis] += step
            if 0 <= other[axis] < shape[axis]:
                found.append(tuple(other))
    return found


def looped(mask: np.ndarray, entropy: np.ndarray, stage1: np.ndarray, labels: tuple[int, ...]) -> dict:
    """Voxel by voxel."""
    counts = {"voxels": 0, "stage1": 0, "both": 0}
    inside, edge = [], []
    for index in np.ndindex(*mask.shape):
        here, before = mask[index] in labels, stage1[index] in labels
        counts["voxels"] += here
        counts["stage1"] += before
        counts["both"] += here and before
        if here:
            inside.append(entropy[index])
        if any((mask[other] in labels) != here for other in neighbours(index, mask.shape)):
            edge.append(entropy[index])
    dice = 2 * counts["both"] / (counts["voxels"] + counts["stage1"])
    return {**counts, "inside": np.mean(inside), "edge": np.mean(edge), "dice": dice}


@pytest.mark.parametrize("shape", [(1, 6, 7), (6, 1, 7), (6, 7, 1), (4, 5, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_rows_are_those_of_a_loop_over_the_voxels(shape, seed):
    mask, entropy, stage1 = random_case(shape, seed)
    rows = structure_rows(mask, entropy, SPACING, STRUCTURES, stage1)
    assert [row["structure"] for row in rows] == list(STRUCTURES)
    for row, labels, values in zip(rows[:3], ((1,), (2,), (1, 2, 3)), entropy[:3], strict=True):
        expected = looped(mask, values, stage1, labels)
        size = math.prod(mm for mm, voxels in zip(SPACING, shape, strict=True) if voxels > 1)
        column, other = ("area_mm2", "volume_mm3") if 1 in shape else ("volume_mm3", "area_mm2")
        assert row[column] == pytest.approx(expected["voxels"] * size)
        assert np.isnan(row[other])
        assert row["mean_entropy_inside"] == pytest.approx(expected["inside"])
        assert row["mean_entropy_boundary"] == pytest.approx(expected["edge"])
        assert row["agreement"] == pytest.approx(expected["dice"])
        assert row["low_agreement"] is (expected["dice"] < 0.8)


def test_absent_structures_and_a_missing_stage_1_leave_cells_empty():
    mask, entropy, stage1 = random_case((1, 6, 7))
    *present, absent = structure_rows(mask, entropy, SPACING, STRUCTURES, stage1)
    assert absent["area_mm2"] == 0
    assert all(np.isnan(absent[key]) for key in ("mean_entropy_inside", "mean_entropy_boundary", "agreement"))
    assert [row["low_agreement"] for row in (absent, *present)] == [None, True, False, False]
    for row in structure_rows(mask, entropy, SPACING, STRUCTURES):
        assert np.isnan(row["agreement"])
        assert row["low_agreement"] is None


@pytest.mark.parametrize(
    ("refined", "below", "agreement", "flagged"),
    [(1, 0.5, 2 / 3, False), (1, 2 / 3, 2 / 3, False), (1, 0.7, 2 / 3, True), (0, 0.5, 0, True)],
)
def test_the_flag_is_for_agreement_below_its_bound(refined, below, agreement, flagged):
    mask = np.array([[[1, 1, 0, 0]] * 2]) * refined
    stage1 = np.array([[[1, 0, 0, 0]] * 2])
    (row,) = structure_rows(mask, mask[None] * 0.0, SPACING, {"disc": 1}, stage1, below)
    assert row["agreement"] == pytest.approx(agreement)
    assert row["low_agreement"] is flagged


def test_the_boundary_has_both_sides_and_ends_at_the_volumes_edge():
    inside = np.zeros((1, 5, 5), dtype=bool)
    inside[0, 1:4, :3] = True
    expected = [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0],
    ]
    np.testing.assert_array_equal(boundary(inside)[0], np.array(expected, dtype=bool))
    everywhere = np.ones((1, 5, 5), dtype=int)
    assert not boundary(everywhere > 0).any()
    (row,) = structure_rows(everywhere, everywhere[None] * 0.2, SPACING, {"all": 1})
    assert np.isnan(row["mean_entropy_boundary"])
    assert row["mean_entropy_inside"] == pytest.approx(0.2)


def test_the_table_has_its_columns_in_order(tmp_path):
    mask, entropy, stage1 = random_case((1, 6, 7))
    rows = [{"case": "a", **row} for row in structure_rows(mask, entropy, SPACING, STRUCTURES, stage1)]
    write_confidence(rows, tmp_path / "confidence.csv")
    table = pd.read_csv(tmp_path / "confidence.csv")
    assert ",".join(table.columns) == (
        "case,structure,area_mm2,volume_mm3,mean_entropy_inside,mean_entropy_boundary,agreement,low_agreement"
    )
    assert table["structure"].tolist() == list(STRUCTURES)
    np.testing.assert_allclose(table["agreement"], [row["agreement"] for row in rows], rtol=1e-5)
    write_confidence([], tmp_path / "empty.csv")
    assert (tmp_path / "empty.csv").read_text().startswith("case,structure,")
    write_confidence([{"case": "a", "area_low": 1.5, "area_high": 2.5}], tmp_path / "range.csv")
    ranges = pd.read_csv(tmp_path / "range.csv").columns
    assert list(ranges)[3:7] == ["volume_mm3", "area_low", "area_high", "mean_entropy_inside"]
    with pytest.raises(ValueError, match="aera_low"):
        write_confidence([{"case": "a", "aera_low": 1.5}], tmp_path / "wrong.csv")
    assert not (tmp_path / "wrong.csv").exists()
    for arrays, message in (
        ((mask, entropy[:3]), "4 structures"),
        ((mask[:, :5], entropy[:, :, :5]), "stage 1"),
    ):
        with pytest.raises(ValueError, match=message):
            structure_rows(*arrays, SPACING, STRUCTURES, stage1)


@pytest.mark.parametrize(("weight", "limit"), [(0, 0.8), (0.5, 0.9), (0.9, 0.98)])
def test_the_mean_of_both_stages_has_to_agree_more(weight, limit):
    assert agreement_limit(weight) == pytest.approx(limit)
