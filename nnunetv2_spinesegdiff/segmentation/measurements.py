"""Rows of measurements.csv: measurements of the slice, and facts about the scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..files import written_whole
from ..labels import CLASSES
from ..uncertainty.conformal import area_bounds
from ..uncertainty.stored import Calibration
from .cutting import SegmentedSlices
from .measuring.levels import Levels
from .measuring.measure import COLUMNS as MEASURED
from .measuring.measure import LOW_AGREEMENT, measure_slice

USE = "research use only"
COLUMNS = (
    "scan",
    "slice",
    *MEASURED[: MEASURED.index("area_mm2") + 1],
    "area_low_mm2",
    "area_high_mm2",
    "volume_mm3",
    *MEASURED[MEASURED.index("area_mm2") + 1 :],
    "level_confidence",
    "level_basis",
    "use",
)
"""`slice` counts from the patient's left, 0 = leftmost. The bounds hold the true area of about nine scans in
ten, empty where the model is not calibrated; `volume_mm3` is of all slices, empty where one was segmented."""

_TEXT = ("scan", "structure", "level", "remark", "level_confidence", "level_basis", "use")
_NO_FLOATS = {"slice": "int64", "number": "Int64", "parts": "Int64", "low_agreement": "boolean"}


def rows_of(
    scan: str,
    slices: SegmentedSlices,
    signal: np.ndarray,
    levels: Levels,
    calibration: Calibration | None,
    flag_below: float = LOW_AGREEMENT,
) -> list[dict[str, Any]]:
    """The rows of one scan, with the keys of `COLUMNS`; None where something does not apply.

    Args:
        signal: of the measured slice (rows, columns), from 0, in the scanner's units.
        levels: of the measured slice.
        calibration: of a model of single slices.
        flag_below: Dice of stage 1 and the mask below which they disagree.
    """
    at = slices.measured
    measured = measure_slice(
        slices.mask[at],
        signal,
        slices.spacing[1:],
        slices.uncertainty[at],
        None if slices.stage1 is None else slices.stage1[at],
        flag_below,
        levels,
    )
    named = {"level_confidence": levels.confidence, "level_basis": levels.basis}
    rows = []
    for row in measured:
        total = row["number"] is None
        more = {**_bounds(row, slices, calibration), **_volume(row, slices)} if total else {}
        of_level = named if row["level"] else {}
        row = {"scan": scan, "slice": slices.view.first_slice + at, **row, **more, **of_level, "use": USE}
        rows.append({column: _known(row.get(column)) for column in COLUMNS})
    return rows


def table_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table of `COLUMNS` whose numbers are numbers: float64, NaN where nothing was measured.

    `slice` is int64, `number` and `parts` are Int64 and `low_agreement` is boolean, with NA.
    """
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return table.astype({c: _NO_FLOATS.get(c, "float64") for c in COLUMNS if c not in _TEXT})


def write_measurements(
    rows: Sequence[dict[str, Any]], path: Path, participants: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write rows as CSV, six significant digits, nothing where nothing was measured. Whole or not at all.

    Args:
        participants: columns to add at the end, by the name of the scan.
    """
    table, known = table_of(rows), participants or {}
    for column in dict.fromkeys(column for facts in known.values() for column in facts):
        table[column] = [known.get(scan, {}).get(column, "") for scan in table["scan"]]
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def _known(value: Any) -> Any:
    # JSON has no NaN.
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _bounds(
    row: dict[str, Any], slices: SegmentedSlices, calibration: Calibration | None
) -> dict[str, float]:
    if calibration is None or len(slices.mask) > 1:
        return {}
    pixel = float(np.prod(slices.spacing[1:]))
    low, high = area_bounds(row["area_mm2"], calibration.area_quantiles[row["structure"]], pixel)
    return {"area_low_mm2": float(low), "area_high_mm2": float(high)}


def _volume(row: dict[str, Any], slices: SegmentedSlices) -> dict[str, float]:
    if len(slices.mask) == 1:
        return {}
    voxels = np.count_nonzero(slices.mask == CLASSES[row["structure"]])
    return {"volume_mm3": float(voxels * np.prod(slices.spacing))}
