"""Overlap and surface distances of a mask and its label, as MONAI computes them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
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

OVERLAPS = ("dice", "jaccard")
DISTANCES = ("assd_mm", "hd95_mm")
METRICS = (*OVERLAPS, *DISTANCES)


def score_case(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    structures: Structures,
    ignore: int | None = None,
) -> list[dict[str, Any]]:
    """One row a structure, its keys those of scores.csv from `structure` on.

    Dice and Jaccard are 0 to 1. `assd_mm` is the mean distance of all surface voxels of both to the other's
    surface, `hd95_mm` the larger of the two 95th percentiles (both in mm). Surface voxels are those that an
    erosion by the nearest neighbours takes away; the volume's edge is surface, too. A single slice is scored
    in its plane: as a volume, all of it would be surface.

    A structure in neither mask has no score (NaN, `found` is "neither"). One that is in the label or in the
    prediction alone has overlap 0 and no distance ("missed", "false"): no number of mm says that something is
    not there.

    Args:
        truth, prediction: label maps (Z, Y, X).
        spacing: (z, y, x) in mm.
        ignore: label whose voxels count as background in both.

    Raises:
        ValueError: the shapes differ, or the spacing is not one positive number an axis.
    """
    _check(truth, prediction, spacing)
    size = voxel_size(truth.shape, spacing)
    if ignore is not None:
        truth, prediction = (np.where(truth == ignore, 0, array) for array in (truth, prediction))
    single = 1 in truth.shape
    pairs = [tuple(structure_mask(m, labels) for m in (truth, prediction)) for labels in structures.values()]
    rows = []
    for name, (true, predicted) in zip(structures, pairs, strict=True):
        areas = [float(np.count_nonzero(mask) * size) for mask in (true, predicted)]
        sizes = {
            f"{which}_{unit}": area if (unit == "mm2") == single else np.nan
            for unit in ("mm2", "mm3")
            for which, area in zip(("true", "predicted"), areas, strict=True)
        }
        found = FOUND[bool(true.any()), bool(predicted.any())]
        rows.append({"structure": name, **_scores(true, predicted, spacing, found), **sizes, "found": found})
    return rows


FOUND: Mapping[tuple[bool, bool], str] = {
    (True, True): "both",
    (True, False): "missed",
    (False, True): "false",
    (False, False): "neither",
}
"""By whether a structure is in the label, and in the prediction."""


def level_dice(
    instances: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]
) -> dict[int, tuple[float, float, float]]:
    """Dice of every instance (a disc) for a prediction that does not tell instances apart.

    A predicted voxel belongs to the instance nearest to it, so that a disc which is drawn too large is that
    disc's error, and one that is drawn where none is, its nearest neighbour's.

    Args:
        instances: (Z, Y, X), 0 or the number of an instance.
        prediction: bool (Z, Y, X), the structure's voxels.
        spacing: (z, y, x) in mm.

    Returns:
        Instance to Dice, true and predicted size (mm2 of a single slice, mm3 of several).
    """
    from scipy import ndimage

    if not instances.any():
        return {}
    nearest = ndimage.distance_transform_edt(
        instances == 0, sampling=spacing, return_distances=False, return_indices=True
    )
    owner = np.where(prediction, instances[tuple(nearest)], 0)
    size = voxel_size(instances.shape, spacing)
    scores = {}
    for number in np.unique(instances[instances > 0]).tolist():
        true, predicted = instances == number, owner == number
        sums = int(true.sum()), int(predicted.sum())
        dice = 2 * int((true & predicted).sum()) / sum(sums)
        scores[number] = (dice, sums[0] * size, sums[1] * size)
    return scores


def _scores(
    true: np.ndarray, predicted: np.ndarray, spacing: Sequence[float], found: str
) -> dict[str, float]:
    if found != "both":
        return dict.fromkeys(OVERLAPS, np.nan if found == "neither" else 0.0) | dict.fromkeys(
            DISTANCES, np.nan
        )
    true, predicted, spacing = _in_plane(true, predicted, spacing)
    y, y_pred = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (true, predicted))
    with warnings.catch_warnings():
        # MONAI tells of channels in which nothing is; there are none.
        warnings.simplefilter("ignore")
        made = {
            "dice": compute_dice(y_pred, y),
            "jaccard": compute_iou(y_pred, y),
            "assd_mm": compute_average_surface_distance(
                y_pred, y, include_background=True, symmetric=True, spacing=spacing
            ),
            "hd95_mm": compute_hausdorff_distance(
                y_pred, y, include_background=True, percentile=95, spacing=spacing
            ),
        }
    return {name: float(value) for name, value in made.items()}


def _in_plane(
    true: np.ndarray, predicted: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Without an axis of one voxel, where there is one."""
    if 1 not in true.shape:
        return true, predicted, list(spacing)
    axis = true.shape.index(1)
    kept = [value for i, value in enumerate(spacing) if i != axis]
    return true.squeeze(axis), predicted.squeeze(axis), kept


def _check(truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(f"label of shape {truth.shape}, prediction of shape {prediction.shape}")
    if len(spacing) != truth.ndim or not all(np.isfinite(value) and value > 0 for value in spacing):
        raise ValueError(f"spacing {tuple(spacing)} of an array of shape {truth.shape}")
