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


def test_an_absent_structure_has_no_size_and_no_entropy():
    mask, entropy, stage1 = random_case((1, 6, 7))
    absent = structure_rows(mask, entropy, SPACING, STRUCTURES, stage1)[-1]
    assert absent["area_mm2"] == 0
    assert all(np.isnan(absent[key]) for key in ("mean_entropy_inside", "mean_entropy_boundary", "agreement"))
    assert absent["low_agreement"] is None


def test_a_structure_that_only_one_stage_has_is_flagged():
    mask = np.zeros((1, 4, 4), dtype=int)
    mask[0, 1, 1] = 1
    for refined, stage1 in ((mask, mask * 0), (mask * 0, mask)):
        (row,) = structure_rows(refined, mask[None] * 0.1, SPACING, {"disc": 1}, stage1)
        assert (row["agreement"], row["low_agreement"]) == (0, True)


@pytest.mark.parametrize(("below", "flagged"), [(0.5, False), (2 / 3, False), (0.7, True)])
def test_the_flag_is_for_agreement_below_its_bound(below, flagged):
    mask = np.array([[[1, 1, 0, 0]] * 2])
    stage1 = np.array([[[1, 0, 0, 0]] * 2])
    (row,) = structure_rows(mask, mask[None] * 0.0, SPACING, {"disc": 1}, stage1, below)
    assert row["agreement"] == pytest.approx(2 / 3)
    assert row["low_agreement"] is flagged


def test_without_stage_1_nothing_is_flagged():
    mask, entropy, _ = random_case((3, 6, 7))
    for row in structure_rows(mask, entropy, SPACING, STRUCTURES):
        assert np.isnan(row["agreement"])
        assert row["low_agreement"] is None


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


def test_shapes_that_do_not_fit_are_a_bug():
    mask, entropy, _ = random_case((1, 6, 7))
    with pytest.raises(ValueError, match="4 structures"):
        structure_rows(mask, entropy[:3], SPACING, STRUCTURES)
    with pytest.raises(ValueError, match="stage 1's"):
        structure_rows(mask, entropy, SPACING, STRUCTURES, mask[:, :5])


def test_the_table_has_its_columns_in_order(tmp_path):
    mask, entropy, stage1 = random_case((1, 6, 7))
    rows = [{"case": "a", **row} for row in structure_rows(mask, entropy, SPACING, STRUCTURES, stage1)]
    write_confidence(rows, tmp_path / "confidence.csv")
    table = pd.read_csv(tmp_path / "confidence.csv")
    assert ",".join(table.columns) == (
        "case,structure,area_mm2,volume_mm3,mean_entropy_inside,mean_entropy_boundary,agreement,low_agreement"
    )
    assert table["structure"].tolist() == list(STRUCTURES)
    assert table["low_agreement"].tolist()[:3] == [True, False, False]
    assert pd.isna(table["low_agreement"][3])
    np.testing.assert_allclose(table["agreement"], [row["agreement"] for row in rows], rtol=1e-5)
    write_confidence([], tmp_path / "empty.csv")
    assert (tmp_path / "empty.csv").read_text().startswith("case,structure,")


def test_ranges_of_the_area_are_let_through_and_nothing_else(tmp_path):
    write_confidence([{"case": "a", "area_low": 1.5, "area_high": 2.5}], tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table.columns)[3:7] == ["volume_mm3", "area_low", "area_high", "mean_entropy_inside"]
    with pytest.raises(ValueError, match="no column for"):
        write_confidence([{"case": "a", "aera_low": 1.5}], tmp_path / "b.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(("weight", "limit"), [(0, 0.8), (0.5, 0.9), (0.9, 0.98)])
def test_the_mean_of_both_stages_has_to_agree_more(weight, limit):
    assert agreement_limit(weight) == pytest.approx(limit)
