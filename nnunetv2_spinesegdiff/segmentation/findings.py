"""Signs in a segmentation that it may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dataset_conversion.geometry import IN_PLANE_MM, IN_PLANE_SIZE, LEFT_RIGHT_SIZE, SliceView
from ..errors import UserError
from ..labels import BACKGROUND, CLASSES, VERTEBRAE
from .measuring.levels import LOW, Levels
from .measuring.plausible import CANAL_IN_FRONT, NO_COLUMN, SIZE, check_plausibility

COUNTED = ("vertebrae", "ivd")
_UNNOTICED_MM = 10.0
FEWEST = 2
"""Vertebrae and discs of a slice below which it can hardly be a lumbar spine's."""
_IMPLAUSIBLE = {
    NO_COLUMN: "vertebrae and discs do not form a column from head to foot",
    SIZE: "the spine is impossibly small or large",
    CANAL_IN_FRONT: "the spinal canal is in front of the vertebrae",
}


def check_spine_found(mask: np.ndarray) -> None:
    """Reject a segmentation without a spine: an empty mask looks like a result.

    Args:
        mask: labels of the segmented slices.

    Raises:
        UserError: nothing, or no vertebra, was segmented.
    """
    if (mask == VERTEBRAE).any():
        return
    found = [name for name, label in CLASSES.items() if label != BACKGROUND and (mask == label).any()]
    what = f"only {', '.join(found)}" if found else "nothing"
    raise UserError(
        None,
        f"no spine was found ({what} segmented)",
        "check that this is a lumbar MR scan and that the model was made for it",
    )


def window_warnings(view: SliceView) -> list[str]:
    """Where the scan reaches beyond what the converter cuts out of it: there is no mask."""
    front, down, left = (
        count * mm for count, mm in zip(view.oriented.size, view.oriented.spacing, strict=True)
    )
    window, said = IN_PLANE_SIZE * IN_PLANE_MM, []
    if max(down, front) > window + _UNNOTICED_MM:
        said.append(
            f"only the middle {window:.0f} x {window:.0f} of {down:.0f} x {front:.0f} mm "
            "(head to foot, front to back) were segmented"
        )
    if view.dim == "3d" and left > LEFT_RIGHT_SIZE * IN_PLANE_MM + _UNNOTICED_MM:
        said.append(f"only the middle {LEFT_RIGHT_SIZE} of {left:.0f} mm left to right were segmented")
    return said


def level_warnings(levels: Levels) -> list[str]:
    """What makes the names of levels doubtful."""
    if levels.warnings or levels.confidence != LOW:
        return levels.warnings
    return [f"the names of the levels are uncertain ({levels.basis}): check them, or set --lowest_disc"]


def warnings_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Warn of structures that are missing or on which stage 1 and the mask disagree."""
    totals = [row for row in rows if row["number"] is None]
    said = [
        f"no {row['structure']} in the measured slice"
        for row in totals
        if row["structure"] not in COUNTED and not row["area_mm2"]
    ]
    for structure in COUNTED:
        count = sum(row["structure"] == structure and row["number"] is not None for row in rows)
        if count < FEWEST:
            said.append(
                f"{count or 'no'} {structure} found in the measured slice, expected at least {FEWEST}"
            )
    said += [
        f"stage 1 and the mask disagree on {row['structure']} (Dice {row['agreement']:.2f}): check it"
        for row in totals
        if row["low_agreement"]
    ]
    return said


def anatomy_warnings(mask: np.ndarray, spacing: tuple[float, float]) -> list[str]:
    """Describe what does not look like a spine in the measured slice (`check_plausibility`).

    Args:
        mask: (rows, columns) labels.
        spacing: (row, column) in mm.

    Returns:
        One line per problem.
    """
    found = check_plausibility(mask, spacing)
    said = [
        f"implausible anatomy in the measured slice: {_IMPLAUSIBLE[reason]}; "
        "check that the image is a sagittal lumbar MR scan"
        for reason in found.reasons
    ]
    for structure in CLASSES:
        areas = [part.shape.area for part in found.outside if part.structure == structure]
        if areas:
            parts = "1 part" if len(areas) == 1 else f"{len(areas)} parts"
            said.append(f"{structure}: {parts} ({sum(areas):.0f} mm2) outside of the spine; check the mask")
    return said
