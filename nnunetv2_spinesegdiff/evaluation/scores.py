"""Overlap and surface distances of a mask and its label, computed with MONAI."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
)

from ..uncertainty.confidence import Structures, structure_mask, voxel_size
from .columns import DISTANCES, FOUND, OVERLAPS, SIZES


def score_case(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    structures: Structures,
    ignore: int | None = None,
) -> list[dict[str, Any]]:
    """Score every structure of a case.

    `assd_mm` is the mean distance of the surface voxels of both masks to the surface of the other mask.
    `hd95_mm` is the larger of the two 95th percentiles. Surface voxels are those that an erosion by the
    nearest neighbors removes, including those at the edge of the volume. A single slice is scored in its
    plane; otherwise every voxel of it would be a surface voxel.

    A structure in neither mask has no score (NaN, `found` is "neither"). A structure that is only in the
    label ("missed") or only in the prediction ("false") has overlap 0 and no distance.

    Args:
        truth: label map (Z, Y, X).
        prediction: label map, shape of `truth`.
        spacing: (z, y, x) in mm.
        structures: label, or labels of a region, by name.
        ignore: label whose voxels count as background in both.

    Returns:
        One row per structure, with the columns of scores.csv from `structure` on: `dice` and `jaccard` from 0
        to 1, `assd_mm` and `hd95_mm` in mm, sizes in mm2 (single slice) or mm3, and `found`.

    Raises:
        ValueError: the shapes differ, or the spacing is not one positive number per axis.

    Examples:
        >>> truth, prediction = np.zeros((2, 1, 10, 10), np.uint8)
        >>> truth[0, 2:6, 2:6] = 3
        >>> prediction[0, 2:6, 3:7] = 3
        >>> (row,) = score_case(truth, prediction, (4.0, 0.5, 0.5), {"ivd": 3})
        >>> row["dice"], row["hd95_mm"], row["true_mm2"]
        (0.75, 0.5, 4.0)
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"label of shape {truth.shape}, prediction of shape {prediction.shape}")
    if len(spacing) != truth.ndim or not all(np.isfinite(value) and value > 0 for value in spacing):
        raise ValueError(f"spacing {tuple(spacing)} of an array of shape {truth.shape}")
    size = voxel_size(truth.shape, spacing)
    if ignore is not None:
        truth, prediction = (np.where(truth == ignore, 0, array) for array in (truth, prediction))
    unit = "mm2" if 1 in truth.shape else "mm3"
    rows = []
    for name, labels in structures.items():
        true, predicted = (structure_mask(mask, labels) for mask in (truth, prediction))
        found = FOUND[bool(true.any()), bool(predicted.any())]
        sizes = dict.fromkeys(SIZES, np.nan)
        sizes[f"true_{unit}"] = float(np.count_nonzero(true) * size)
        sizes[f"predicted_{unit}"] = float(np.count_nonzero(predicted) * size)
        rows.append({"structure": name, **_scores(true, predicted, spacing, found), **sizes, "found": found})
    return rows


def level_dice(
    instances: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]
) -> dict[int, tuple[float, float, float]]:
    """Compute the Dice of every instance, such as a disc, for a prediction with one label for all of them.

    A predicted voxel belongs to the nearest instance.

    Args:
        instances: (Z, Y, X), the number of an instance, or 0.
        prediction: bool (Z, Y, X), voxels of the structure.
        spacing: (z, y, x) in mm.

    Returns:
        Dice (0 to 1), true size and predicted size of every instance, in mm2 (single slice) or mm3.

    Examples:
        >>> instances = np.zeros((1, 12, 6), np.uint8)
        >>> instances[0, 2:4], instances[0, 8:10] = 1, 2
        >>> level_dice(instances, instances == 1, (4.0, 1.0, 1.0))
        {1: (1.0, 12.0, 12.0), 2: (0.0, 12.0, 0.0)}
    """
    if not instances.any():
        return {}
    owner = nearest_instance(instances, prediction, spacing)
    size = voxel_size(instances.shape, spacing)
    scores = {}
    for number in np.unique(instances[instances > 0]).tolist():
        true, predicted = instances == number, owner == number
        sums = int(true.sum()), int(predicted.sum())
        dice = 2 * int((true & predicted).sum()) / sum(sums)
        scores[number] = (dice, sums[0] * size, sums[1] * size)
    return scores


def nearest_instance(instances: np.ndarray, inside: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Give voxels the number of the nearest instance.

    Args:
        instances: (Z, Y, X), the number of an instance, or 0.
        inside: bool (Z, Y, X), voxels to number.
        spacing: (z, y, x) in mm.

    Returns:
        Numbers (Z, Y, X), 0 outside `inside` and where there are no instances.
    """
    from scipy import ndimage

    if not instances.any():
        return np.zeros_like(instances)
    nearest = ndimage.distance_transform_edt(
        instances == 0, sampling=spacing, return_distances=False, return_indices=True
    )
    return np.where(inside, instances[tuple(nearest)], 0)


def _scores(
    true: np.ndarray, predicted: np.ndarray, spacing: Sequence[float], found: str
) -> dict[str, float]:
    if found != "both":
        overlap = np.nan if found == "neither" else 0.0
        return dict.fromkeys(OVERLAPS, overlap) | dict.fromkeys(DISTANCES, np.nan)
    axis = true.shape.index(1) if 1 in true.shape else None
    masks = [mask if axis is None else mask.squeeze(axis) for mask in (true, predicted)]
    y, y_pred = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in masks)
    options: dict[str, Any] = {"include_background": True}
    options["spacing"] = [value for i, value in enumerate(spacing) if i != axis]
    with warnings.catch_warnings():
        # MONAI warns of empty channels; there are none.
        warnings.simplefilter("ignore")
        scores = (
            compute_dice(y_pred, y),
            compute_iou(y_pred, y),
            compute_average_surface_distance(y_pred, y, symmetric=True, **options),
            compute_hausdorff_distance(y_pred, y, percentile=95, **options),
        )
    return dict(zip((*OVERLAPS, *DISTANCES), map(float, scores), strict=True))
