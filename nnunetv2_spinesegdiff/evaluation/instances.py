"""Vertebrae and discs one by one: matching of instances, panoptic quality, and Dice of every level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..labels import SPIDER_DISCS, SPIDER_PARTIAL_VERTEBRAE, SPIDER_VERTEBRAE
from ..pages.cells import with_interval
from ..segmentation.measuring.levels import DISCS, PARTIAL, Lowest
from ..text import spelled
from ..uncertainty.confidence import voxel_size
from .columns import FOUND, SIZES, Name, rows_of
from .comparisons import mean_interval
from .summary_tables import without_empty

NUMBERS: Mapping[str, tuple[int, ...]] = {
    "vertebrae": (*SPIDER_VERTEBRAE, *SPIDER_PARTIAL_VERTEBRAE),
    "ivd": tuple(SPIDER_DISCS),
}
"""SPIDER's numbers of the instances of a structure."""

MIN_IOU = 0.5
"""Two instances match if their IoU is larger. Then each of them has at most one match."""

PANOPTIC = "panoptic"
LEVEL_DICE = "level_dice"

QUALITIES: Mapping[str, str] = {
    "pq": "PQ",
    "rq": "RQ",
    "sq": "SQ (IoU)",
    "sq_dice": "SQ (Dice)",
    "number_right": "Right number",
}
PANOPTIC_COLUMNS = (
    *("system", "data", "structure", "cases", "patients", "tp", "fp", "fn"),
    *(f"{name}{end}" for name in QUALITIES for end in ("", "_low", "_high")),
)
LEVEL_DICE_COLUMNS = (
    *("system", "data", "structure", "number", "level_name", "cases", "patients", "missed"),
    *("dice", "dice_low", "dice_high"),
)
PANOPTIC_METHOD = (
    f"A predicted and a true instance match if their IoU is above {MIN_IOU}. TP: matched, FP: only "
    "predicted, FN: only in the label. RQ = TP / (TP + FP / 2 + FN / 2). SQ is the mean IoU or Dice of "
    "matched instances. PQ = RQ x SQ (IoU). Right number: share of matched instances with SPIDER's number. "
    "Means over patients, whose cases are averaged first, with 95 % intervals. SQ and right number are "
    "undefined in cases without a match, and omitted there. TP, FP and FN are sums."
)
LEVEL_METHOD = (
    "Dice of every true instance and its match, 0 without one. Means over patients, whose cases are averaged "
    "first, with 95 % intervals. Names of levels assume five lumbar vertebrae."
)


def instances_in(numbers: np.ndarray, structure: str) -> np.ndarray:
    """Return the numbers of one structure, and 0 elsewhere.

    A vertebra that is cut off by the edge of the image (101 and up) has the number of a whole one.

    Args:
        numbers: SPIDER's numbers, of any shape.
        structure: "vertebrae" or "ivd".
    """
    own = np.where(np.isin(numbers, NUMBERS[structure]), numbers, 0).astype(int)
    return own % PARTIAL if structure == "vertebrae" else own


def level_name(number: int) -> str:
    """Return "L5" of 1 and "L5-S1" of 201, of a spine with five lumbar vertebrae."""
    return Lowest().disc(number - DISCS) if number > DISCS else Lowest().vertebra(number)


def match_instances(
    truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], ignored: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Match the true and predicted instances of one structure by their overlap.

    Two instances match if their IoU is above 0.5 (Kirillov et al., *Panoptic Segmentation*, 2019). Numbers
    play no part in it. A predicted instance without a match does not count if more than half of it is
    ignored.

    Args:
        truth: (Z, Y, X), the number of an instance, or 0.
        prediction: numbers, shape of `truth`.
        spacing: (z, y, x) in mm.
        ignored: bool, shape of `truth`, voxels without a true label. They count as background.

    Returns:
        One row per true instance, in the order of their numbers, then one per predicted instance without a
        match, with the columns of instances.csv from `number` on.

    Raises:
        ValueError: the shapes differ.

    Examples:
        >>> truth = np.zeros((1, 12, 6), int)
        >>> truth[0, 2:6], truth[0, 8:10] = 1, 2
        >>> rows = match_instances(truth, np.roll(truth, 1, axis=1) * 2, (4.0, 1.0, 1.0))
        >>> [(row["number"], row["predicted_number"], row["found"], row["dice"]) for row in rows]
        [(1, 2, 'both', 0.75), (2, None, 'missed', 0.0), (None, 4, 'false', 0.0)]
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"label of shape {truth.shape}, prediction of shape {prediction.shape}")
    whole, hidden = _sizes(prediction), {}
    if ignored is not None:
        hidden = _sizes(np.where(ignored, prediction, 0))
        truth, prediction = np.where(ignored, 0, truth), np.where(ignored, 0, prediction)
    true, predicted = _sizes(truth), _sizes(prediction)
    matches: dict[int, tuple[int, float, float]] = {}
    inside = (truth > 0) & (prediction > 0)
    pairs, counts = np.unique(np.stack([truth[inside], prediction[inside]]), axis=1, return_counts=True)
    for (number, other), both in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        sizes = true[number] + predicted[other]
        if both > MIN_IOU * (sizes - both):
            matches[number] = other, 2 * both / sizes, both / (sizes - both)
    size = voxel_size(truth.shape, spacing)
    unit = "mm2" if 1 in truth.shape else "mm3"

    def row(number: int | None, other: int | None, dice: float = 0.0, jaccard: float = 0.0) -> dict[str, Any]:
        both = number is not None and other is not None
        sizes = dict.fromkeys(SIZES, np.nan)
        sizes[f"true_{unit}"] = 0.0 if number is None else true[number] * size
        sizes[f"predicted_{unit}"] = 0.0 if other is None else predicted[other] * size
        return {
            "number": number,
            "level_name": None if number is None else level_name(number),
            "predicted_number": other,
            "number_right": number == other if both else None,
            "dice": dice,
            "jaccard": jaccard,
            **sizes,
            "found": FOUND[number is not None, other is not None],
        }

    rows = [row(number, *matches.get(number, (None,))) for number in true]
    matched = {other for other, *_ in matches.values()}
    alone = [other for other in predicted if other not in matched]
    rows += [row(None, other) for other in alone if 2 * hidden.get(other, 0) <= whole[other]]
    return rows


def _sizes(numbers: np.ndarray) -> dict[int, int]:
    """Number of voxels of every instance."""
    found, counts = np.unique(numbers[numbers > 0], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def panoptic_table(instances: pd.DataFrame, names: Sequence[Name]) -> pd.DataFrame:
    """Recognition, segmentation and panoptic quality, one row per system and structure.

    Args:
        instances: of instances.csv.
        names: systems, in the order of the table.

    Returns:
        `PANOPTIC_COLUMNS`: counts, and means over patients with their 95 % intervals.
    """
    found = instances["found"]
    counted = instances.assign(
        tp=found == "both",
        fp=found == "false",
        fn=found == "missed",
        right=instances["number"] == instances["predicted_number"],
    )
    rows = []
    for name in names:
        for structure, own in rows_of(counted, name).groupby("structure", sort=False):
            sums = own.groupby(["patient", "case"])[["tp", "fp", "fn", "right", "jaccard", "dice"]].sum()
            matched = sums["tp"].where(sums["tp"] > 0)
            possible = sums["tp"] + (sums["fp"] + sums["fn"]) / 2
            quality = pd.DataFrame(
                {
                    "pq": sums["jaccard"] / possible,
                    "rq": sums["tp"] / possible,
                    "sq": sums["jaccard"] / matched,
                    "sq_dice": sums["dice"] / matched,
                    "number_right": sums["right"] / matched,
                }
            )
            rows.append(
                {
                    **dict(zip(("system", "data"), name, strict=True)),
                    "structure": structure,
                    "cases": len(sums),
                    "patients": sums.index.get_level_values("patient").nunique(),
                    **sums[["tp", "fp", "fn"]].sum().astype(int).to_dict(),
                    **_over_patients(quality),
                }
            )
    return pd.DataFrame(rows, columns=list(PANOPTIC_COLUMNS))


def level_table(instances: pd.DataFrame, names: Sequence[Name]) -> pd.DataFrame:
    """Mean Dice of every level, one row per system and number. A missed instance has Dice 0.

    Args:
        instances: of instances.csv.
        names: systems, in the order of the table.

    Returns:
        `LEVEL_DICE_COLUMNS`: counts, and means over patients with their 95 % intervals.
    """
    true = instances[instances["number"].notna()]
    keys = ["structure", "number", "level_name"]
    rows = []
    for name in names:
        for key, own in rows_of(true, name).sort_values("number", kind="stable").groupby(keys, sort=False):
            rows.append(
                {
                    **dict(zip(("system", "data"), name, strict=True)),
                    **dict(zip(keys, key, strict=True)),
                    "cases": own["case"].nunique(),
                    "patients": own["patient"].nunique(),
                    "missed": int((own["found"] == "missed").sum()),
                    **_over_patients(own.set_index("patient")[["dice"]]),
                }
            )
    return pd.DataFrame(rows, columns=list(LEVEL_DICE_COLUMNS)).astype({"number": int})


def _over_patients(values: pd.DataFrame) -> dict[str, float]:
    """Mean over patients of every column (0 to 1) and its 95 % interval; NaN is left out."""
    means: dict[str, float] = {}
    for column, by_patient in values.groupby(level="patient").mean().items():
        known = by_patient.dropna().to_numpy()
        low, high = np.clip(mean_interval(known), 0, 1).tolist()
        means |= {f"{column}": float(known.mean()) if len(known) else np.nan}
        means |= {f"{column}_low": low, f"{column}_high": high}
    return means


def printed_panoptic(table: pd.DataFrame) -> pd.DataFrame:
    """Cells of `panoptic_table`: means with three digits and intervals."""
    shown = [
        {
            "Model": row["system"],
            "Data": row["data"],
            "Structure": spelled(row["structure"]),
            "Patients": row["patients"],
            **{heading: _with_interval(row, name) for name, heading in QUALITIES.items()},
            **{name.upper(): row[name] for name in ("tp", "fp", "fn")},
        }
        for row in table.to_dict("records")
    ]
    return without_empty(pd.DataFrame(shown))


def printed_levels(table: pd.DataFrame) -> pd.DataFrame:
    """Cells of `level_table`."""
    shown = [
        {
            "Model": row["system"],
            "Data": row["data"],
            "Number": row["number"],
            "Level": row["level_name"],
            "Patients": row["patients"],
            "Missed": row["missed"],
            "Dice": _with_interval(row, "dice"),
        }
        for row in table.to_dict("records")
    ]
    return without_empty(pd.DataFrame(shown))


def _with_interval(row: Mapping[Any, Any], name: str) -> Any:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], 3)
