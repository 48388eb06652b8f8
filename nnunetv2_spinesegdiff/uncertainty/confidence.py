"""How far a mask can be trusted: size, entropy and agreement of the stages, one row per structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from ..files import written_whole

Structures = Mapping[str, int | tuple[int, ...]]
"""Name to label value, or to the label values whose union is a region."""

LOW_AGREEMENT = 0.8
"""Dice of stage 1 and the refined result below which they disagree."""

COLUMNS = (
    "case",
    "structure",
    "area_mm2",
    "volume_mm3",
    "mean_entropy_inside",
    "mean_entropy_boundary",
    "agreement",
    "low_agreement",
)
RANGE_COLUMNS = ("area_low", "area_high")
"""Bounds of the area in mm², after it in the table; written only where a row has them."""


def structure_mask(mask: np.ndarray, labels: int | tuple[int, ...]) -> np.ndarray:
    """Bool array of the shape of `mask`: where a structure, or any label of a region, is."""
    return np.isin(mask, labels)


def agreement_limit(stage1_weight: float) -> float:
    """Dice of stage 1 and the result below which they disagree.

    It is that of stage 1 and the refined result for a weight of 0. The mean of both is closer to stage 1, the
    more so the more that weighs.

    Args:
        stage1_weight: see `SamplerSettings`.
    """
    return 1 - (1 - LOW_AGREEMENT) * (1 - stage1_weight)


def error_probability(probabilities: np.ndarray, regions: bool) -> np.ndarray:
    """Compute the probability that the label of a voxel is wrong, 1 - p_max.

    p_max is the probability of the label in the mask: the largest one of the classes. A region is in the mask
    where its probability is above 0.5. The result is of the region that is the least certain.

    Args:
        probabilities: (K, Z, Y, X), of classes or of regions.
        regions: of regions instead of classes.

    Returns:
        Map (Z, Y, X), float32, 0 to 1 - 1 / K, or 0 to 0.5 of regions.

    Examples:
        >>> probabilities = np.array([0.8, 0.15, 0.05]).reshape(3, 1, 1, 1)
        >>> round(float(error_probability(probabilities, regions=False)[0, 0, 0]), 3)
        0.2
    """
    wrong = np.minimum(probabilities, 1 - probabilities).max(0) if regions else 1 - probabilities.max(0)
    return np.asarray(wrong, np.float32)


def structure_rows(
    mask: np.ndarray,
    entropy: np.ndarray,
    spacing: Sequence[float],
    structures: Structures,
    stage1_mask: np.ndarray | None = None,
    flag_below: float = LOW_AGREEMENT,
) -> list[dict[str, Any]]:
    """Compute one row per structure, with the keys of `COLUMNS` without `case`.

    `area_mm2` is given for a single slice (a mask with an axis of one voxel, whose spacing is left out),
    `volume_mm3` for several slices; the other one is NaN. `mean_entropy_inside` is the mean over the
    structure, `mean_entropy_boundary` over its boundary (see `boundary`), both in nats and NaN where there is
    no such voxel. `agreement` is the Dice of stage 1's structure and this one, NaN without stage 1 or where
    both have none; `low_agreement` states that it is below `flag_below`; None without a comparison.

    Args:
        mask: label map (Z, Y, X).
        entropy: (len(structures), Z, Y, X) in nats, [0, 1/e], in the order of `structures`.
        spacing: (z, y, x) in mm.
        stage1_mask: label map (Z, Y, X) of stage 1.
        flag_below: Dice, [0, 1].

    Raises:
        ValueError: the shapes do not fit together.
    """
    if entropy.shape != (len(structures), *mask.shape):
        raise ValueError(f"{len(structures)} structures in {mask.shape}, entropy of shape {entropy.shape}")
    if stage1_mask is not None and stage1_mask.shape != mask.shape:
        raise ValueError(f"mask of shape {mask.shape}, stage 1's of shape {stage1_mask.shape}")
    rows = []
    for (name, labels), values in zip(structures.items(), entropy, strict=True):
        inside = structure_mask(mask, labels)
        agreement = np.nan if stage1_mask is None else _dice(inside, structure_mask(stage1_mask, labels))
        rows.append(
            {
                "structure": name,
                **_size(inside, spacing),
                "mean_entropy_inside": _mean(values, inside),
                "mean_entropy_boundary": _mean(values, boundary(inside)),
                "agreement": agreement,
                "low_agreement": None if np.isnan(agreement) else bool(agreement < flag_below),
            }
        )
    return rows


def boundary(inside: np.ndarray) -> np.ndarray:
    """The voxels on either side of a structure's surface, bool, of the shape of `inside` (Z, Y, X).

    A voxel is on the boundary if one of its face neighbors is on the other side: the structure without its
    erosion, and the outer neighbors. Space beyond the volume is not a neighbor, so a structure that is
    cut off by the volume's edge has no boundary there, and in a single slice only neighbors in plane count.
    """
    eroded = ndimage.binary_erosion(inside, border_value=1)
    return ndimage.binary_dilation(inside) & ~eroded


def write_confidence(rows: Sequence[Mapping[str, Any]], path: Path | str) -> None:
    """Write rows as CSV, six significant digits, NaN as empty field. Whole or not at all.

    The columns are `COLUMNS` in their order; `RANGE_COLUMNS` follow `volume_mm3` where a row has them.

    Args:
        rows: of `structure_rows`, each with its `case`.

    Raises:
        ValueError: a row has a key that is not a column.
    """
    keys = {key for row in rows for key in row}
    if unknown := keys - {*COLUMNS, *RANGE_COLUMNS}:
        raise ValueError(f"no column for {sorted(unknown)}")
    columns = list(COLUMNS)
    after = columns.index("volume_mm3") + 1
    columns[after:after] = [name for name in RANGE_COLUMNS if name in keys]
    with written_whole(path) as temporary:
        pd.DataFrame(list(rows), columns=columns).to_csv(temporary, index=False, float_format="%.6g")


def voxel_size(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Area of a pixel (mm2) where an array of `shape` is a single slice, else volume of a voxel (mm3)."""
    if 1 in shape:
        slices = list(shape).index(1)
        spacing = [*spacing[:slices], *spacing[slices + 1 :]]
    return float(np.prod(spacing))


def _size(inside: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    size = int(inside.sum()) * voxel_size(inside.shape, spacing)
    single = 1 in inside.shape
    return {"area_mm2": size if single else np.nan, "volume_mm3": np.nan if single else size}


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean(dtype=np.float64)) if where.any() else np.nan


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else np.nan
