"""An evaluation of a few made-up cases with its files, written in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import (
    CASE_COLUMNS,
    FILE_COLUMNS,
    SCORE_COLUMNS,
    Evaluation,
    System,
    write_evaluation,
)

STRUCTURES = {"spinal_canal": 1, "vertebrae": 2, "ivd": 3}
PIR = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Direction of converted slices: posterior, inferior, right."""


def write_image(path: Path, values: np.ndarray, spacing: Sequence[float] = (), **place: Any) -> Path:
    """Write an array (Z, Y, X) or (Y, X) as an image; `spacing`, `origin` and `direction` in ITK's order."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(tuple(spacing) or (1.0,) * values.ndim)
    if "origin" in place:
        image.SetOrigin(tuple(place["origin"]))
    if "direction" in place:
        image.SetDirection(tuple(np.ravel(place["direction"])))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def label_of(number: int) -> np.ndarray:
    """A label map (1, 24, 20) with all structures, moved a little from case to case."""
    label = np.zeros((1, 24, 20), dtype=np.uint8)
    label[0, 2:22, 12:14] = 1
    label[0, 2 + number % 3 : 10, 5:10] = 2
    label[0, 12:16, 5:10] = 3
    return label


def write_small_evaluation(
    folder: Path,
    systems: Sequence[System] = (System("stage 1"), System("refined")),
    cases: int = 4,
    uncertainty: Sequence[str] = ("refined",),
    images: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Dice are random; case 0 is the worst of every system, the last case the best."""
    rng = np.random.default_rng(seed)
    files, scores = folder / "files", []
    rows = []
    for number, system in enumerate(systems):
        for i in range(cases):
            case, label = f"case_{i}", label_of(i)
            origin = {
                "system": system.name,
                "data": system.data,
                "fold": "",
                "case": case,
                "patient": str(i // 2),
                "contrast": ("T1w", "T2w")[i % 2],
                "dim": "2D",
            }
            own = files / str(number)
            image = write_image(
                files / "images" / f"{case}.nii.gz", label.astype(np.float32) * 10, direction=PIR
            )
            sure = system.name in uncertainty
            rows.append(
                {
                    **origin,
                    "label": write_image(files / "labels" / f"{case}.nii.gz", label, direction=PIR),
                    "prediction": write_image(
                        own / f"{case}.nii.gz", np.roll(label, number, 1), direction=PIR
                    ),
                    "image": image if images else None,
                    "uncertainty": write_image(
                        own / f"{case}_uncertainty.nii.gz", (label == 3) * np.float32(0.3), direction=PIR
                    )
                    if sure
                    else None,
                }
            )
            for structure in STRUCTURES:
                dice = (i + rng.uniform(0.1, 0.9)) / cases
                scores.append({**origin, "structure": structure, "dice": dice, "found": "both"})
    table = pd.DataFrame(scores).reindex(columns=list(SCORE_COLUMNS))
    evaluation = Evaluation(
        folder / "evaluation",
        STRUCTURES,
        tuple(systems),
        table,
        pd.DataFrame(rows, columns=[*CASE_COLUMNS, *FILE_COLUMNS]),
    )
    write_evaluation(evaluation)
    return evaluation
