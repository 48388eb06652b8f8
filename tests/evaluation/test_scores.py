"""Scores against loops over voxels, and against MONAI called on whole arrays."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
)

from nnunetv2_spinesegdiff.evaluation.scores import level_dice, score_case

STRUCTURES: dict[str, int | tuple[int, ...]] = {"canal": 1, "bone": 2, "both": (1, 2)}
NO_DISTANCE = ("assd_mm", "hd95_mm")


def surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels with a face neighbor that is not in the mask, or lies beyond the array."""
    steps = [
        tuple(sign * (axis == a) for a in range(mask.ndim)) for axis in range(mask.ndim) for sign in (-1, 1)
    ]
    found = []
    for index in map(tuple, np.argwhere(mask)):
        for step in steps:
            other = tuple(i + s for i, s in zip(index, step, strict=True))
            outside = any(not 0 <= i < n for i, n in zip(other, mask.shape, strict=True))
            if outside or not mask[other]:
                found.append(index)
                break
    return found


def brute_force(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> dict[str, float]:
    """Every voxel with every voxel."""
    both = union = sums = 0
    for index in product(*map(range, a.shape)):
        both += a[index] and b[index]
        union += a[index] or b[index]
        sums += int(a[index]) + int(b[index])
    near = []
    for ours, theirs in ((surface(a), surface(b)), (surface(b), surface(a))):
        near.append(
            [
                min(
                    sum(((i - j) * s) ** 2 for i, j, s in zip(p, q, spacing, strict=True)) ** 0.5
                    for q in theirs
                )
                for p in ours
            ]
        )
    return {
        "dice": 2 * both / sums,
        "jaccard": both / union,
        "assd_mm": sum(map(sum, near)) / sum(map(len, near)),
        "hd95_mm": max(np.percentile(distances, 95) for distances in near),
    }


@st.composite
def pairs(draw, dims: int):
    """Two masks of few voxels and a spacing; blocks and dust, often at the edge."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = [draw(st.integers(2, 7)) for _ in range(dims)]
    spacing = tuple(draw(st.floats(0.2, 5.0)) for _ in range(dims))
    masks = []
    for _ in range(2):
        mask = rng.random(shape) < draw(st.sampled_from([0.05, 0.3, 0.9]))
        low = [int(rng.integers(n)) for n in shape]
        mask[tuple(slice(i, i + int(rng.integers(1, 4))) for i in low)] = True
        masks.append(mask)
    return masks[0], masks[1], spacing


def checked(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> None:
    """Our row against the loops, and against MONAI without what is around it here."""
    array, other, mm = a, b, spacing
    if a.ndim == 2:
        array, other, mm = a[None], b[None], (4.0, *spacing)
    row = score_case(array.astype(np.uint8), other.astype(np.uint8), mm, {"it": 1})[0]
    for name, value in brute_force(a, b, spacing).items():
        assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    y, p = (torch.from_numpy(mask)[None, None] for mask in (a, b))
    options: dict[str, Any] = {"include_background": True, "spacing": list(spacing)}
    assert row["dice"] == float(compute_dice(p, y))
    assert row["jaccard"] == float(compute_iou(p, y))
    assert row["assd_mm"] == float(compute_average_surface_distance(p, y, symmetric=True, **options))
    assert row["hd95_mm"] == float(compute_hausdorff_distance(p, y, percentile=95, **options))


@settings(max_examples=50)
@given(pairs(2) | pairs(3))
def test_slices_and_volumes_equal_the_loops(pair):
    checked(*pair)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_may_lie_along_any_axis(axis):
    rng = np.random.default_rng(3)
    a, b = (rng.random((9, 11)) < 0.4 for _ in range(2))
    spacing = [0.7, 1.9]
    spacing.insert(axis, 5.0)
    truth, prediction = (np.expand_dims(mask, axis).astype(np.uint8) for mask in (a, b))
    row = score_case(truth, prediction, spacing, {"it": 1})[0]
    for name, value in brute_force(a, b, (0.7, 1.9)).items():
        assert row[name] == pytest.approx(value, rel=1e-5)
    assert row["true_mm2"] == pytest.approx(a.sum() * 0.7 * 1.9)
    assert np.isnan(row["true_mm3"])


@pytest.mark.parametrize(
    ("in_truth", "in_prediction", "found", "overlap", "distance"),
    [
        (True, True, "both", 1.0, 0.0),
        (True, False, "missed", 0.0, np.nan),
        (False, True, "false", 0.0, np.nan),
        (False, False, "neither", np.nan, np.nan),
    ],
)
def test_absent_structures_have_no_distance(in_truth, in_prediction, found, overlap, distance):
    truth, prediction = np.zeros((2, 1, 6, 6), np.uint8)
    truth[..., 0, 0] = prediction[..., 0, 0] = 2
    truth[..., 3, 3] = in_truth
    prediction[..., 3, 3] = in_prediction
    row = score_case(truth, prediction, (4, 2, 2), STRUCTURES)[0]
    assert row["found"] == found
    values = [row[name] for name in ("dice", "jaccard", *NO_DISTANCE)]
    assert values == pytest.approx([overlap, overlap, distance, distance], nan_ok=True)
    assert (row["true_mm2"], row["predicted_mm2"]) == (4.0 * in_truth, 4.0 * in_prediction)


def test_regions_are_unions_and_ignored_voxels_count_as_background_in_both():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 3, (2, 3, 8, 8))
    rows = score_case(truth, prediction, (2, 1, 1), STRUCTURES)
    alone = score_case(truth > 0, prediction > 0, (2, 1, 1), {"both": 1})[0]
    assert rows[2] == pytest.approx(alone, nan_ok=True)
    assert rows[2]["true_mm3"] == (truth > 0).sum() * 2
    ignored = rng.random(truth.shape) < 0.3
    masks = np.where(ignored, 0, truth), np.where(ignored, 0, prediction)
    expected = score_case(*masks, (2, 1, 1), STRUCTURES)
    found = score_case(np.where(ignored, 9, truth), prediction, (2, 1, 1), STRUCTURES, ignore=9)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, nan_ok=True)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((1, 4, 5), (1, 1, 1)), ((1, 4, 4), (1, 1)), ((1, 4, 4), (1, 0, 1))]
)
def test_what_does_not_fit_is_refused(shape, spacing):
    with pytest.raises(ValueError, match="of shape"):
        score_case(np.zeros((1, 4, 4), int), np.zeros(shape, int), spacing, STRUCTURES)


def test_every_disc_has_its_own_dice():
    """Two discs 20 pixels apart: one is drawn whole, of the other half, and dust near it is its error."""
    instances = np.zeros((1, 40, 12), int)
    instances[0, 4:8, 2:10] = 1
    instances[0, 28:32, 2:10] = 2
    drawn = instances == 1
    drawn[0, 28:30, 2:10] = True
    drawn[0, 36, 5] = True
    scores = level_dice(instances, drawn, (4.0, 1.0, 0.5))
    assert scores[1] == (1.0, 16.0, 16.0)
    assert scores[2] == pytest.approx((2 * 16 / (32 + 17), 16.0, 8.5))
    assert level_dice(np.zeros_like(instances), drawn, (4.0, 1.0, 0.5)) == {}
