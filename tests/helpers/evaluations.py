"""A small evaluation on disk: synthetic scans, labels, masks and heatmaps, with scores counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nnunetv2_spinesegdiff.evaluation.report.cohort import Cohort
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import (
    CASE_COLUMNS,
    Evaluation,
    System,
    write_evaluation,
)
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import FigureEntry, Figures
from nnunetv2_spinesegdiff.evaluation.report.html import columns_of
from nnunetv2_spinesegdiff.evaluation.report.page import Table
from nnunetv2_spinesegdiff.evaluation.report.pathology import Pathology
from nnunetv2_spinesegdiff.evaluation.report.report import Contents, write_page

from .masks import write_volume

STRUCTURES = {"spinal_canal": 1, "vertebrae": 2, "ivd": 3}
SYSTEMS = (
    System("Stage 1", settings={"sampler": None, "folds": ["0"]}),
    System("Twice as long", control=True),
    System("Refined", settings={"sampler": {"seed": 7, "eta": 0.0}}, seconds_a_case=1.5),
)


def spine(size: int, shift: int = 0, slices: int = 1) -> np.ndarray:
    """A label map (slices, size, size) with a canal and blocks of vertebrae and discs."""
    mask = np.zeros((slices, size, size), dtype=np.uint8)
    step = size // 8
    for top in range(0, size - step, step):
        mask[:, top : top + step - 3, size // 4 + shift : size // 2 + shift] = 2
        mask[:, top + step - 3 : top + step, size // 4 + shift : size // 2 + shift] = 3
    mask[:, :, size // 2 + 2 + shift : size // 2 + size // 16 + 4 + shift] = 1
    return mask


def make_evaluation(
    folder: Path,
    cases: Sequence[str] = ("a", "b", "c", "d"),
    systems: Sequence[System] = SYSTEMS,
    size: int = 32,
    slices: int = 1,
    uncertain: Sequence[str] | None = None,
    **changes: Any,
) -> Evaluation:
    """Write all files next to `folder` and the evaluation into it.

    Mask k of a case is shifted by k pixels, so that later cases are worse.

    Args:
        uncertain: names of the systems with heatmaps; the last one by default.
        changes: fields of the evaluation.
    """
    rng = np.random.default_rng(0)
    files = folder.parent / "files"
    scores, rows = [], []
    for number, case in enumerate(cases):
        name = f"case{number}"
        truth = spine(size, 0, slices)
        noise = rng.gamma(4, 12, truth.shape) + 40 * truth
        image = write_volume(noise.astype(np.float32), files / "images" / f"{name}_0000.nii.gz")
        label = write_volume(truth, files / "labels" / f"{name}.nii.gz")
        for place, system in enumerate(systems):
            mask = spine(size, (number + place) % 5, slices)
            prediction = write_volume(mask, files / f"masks{place}" / f"{name}.nii.gz")
            heat = None
            if system.name in ([systems[-1].name] if uncertain is None else uncertain):
                values = np.where(mask > 0, 0.3, 0.01) * rng.random(mask.shape)
                heat = write_volume(values.astype(np.float32), files / "heat" / f"{name}.nii.gz")
            origin = (system.name, system.data, str(number % 2), case, f"p{number // 2}", "T1w", "2D")
            row = dict(zip(CASE_COLUMNS, origin, strict=True))
            found = {"label": label, "prediction": prediction, "image": image, "uncertainty": heat}
            rows.append({**row, **found})
            scores += [{**row, **score(truth == v, mask == v, n)} for n, v in STRUCTURES.items()]
    evaluation = Evaluation(
        **{
            "folder": folder,
            "structures": STRUCTURES,
            "systems": tuple(systems),
            "scores": pd.DataFrame(scores),
            "cases": pd.DataFrame(rows),
            "made_with": {"command": "spinesegdiff evaluate", "spinesegdiff": "0.0.9"},
            **changes,
        }
    )
    write_evaluation(evaluation)
    return evaluation


def rising_evaluation(
    folder: Path,
    systems: Sequence[System] = (System("stage 1"), System("refined")),
    cases: int = 4,
    uncertain: Sequence[str] = ("refined",),
    images: bool = True,
) -> Evaluation:
    """Random Dice that rise from case_0 to the last case of every system; T1w and T2w in turn, no folds."""
    names = [f"case_{i}" for i in range(cases)]
    made = make_evaluation(folder / "evaluation", names, systems, uncertain=uncertain)
    for table in (made.cases, made.scores):
        number = table["case"].str.removeprefix("case_").astype(int)
        table["fold"] = ""
        table["contrast"] = number.map(lambda n: ("T1w", "T2w")[n % 2])
    noise = np.random.default_rng(0).uniform(0.1, 0.9, len(made.scores))
    made.scores["dice"] = (number + noise) / cases
    if not images:
        made.cases["image"] = None
    write_evaluation(made)
    return made


def score(a: np.ndarray, b: np.ndarray, structure: str) -> dict[str, Any]:
    """A row of scores; distances are invented."""
    dice = 2 * int((a & b).sum()) / int(a.sum() + b.sum())
    return {
        "structure": structure,
        "dice": dice,
        "jaccard": dice / (2 - dice),
        "assd_mm": 1 - dice,
        "hd95_mm": 3 - dice,
        "true_mm2": float(a.sum()),
        "predicted_mm2": float(b.sum()),
        "true_mm3": np.nan,
        "predicted_mm3": np.nan,
        "found": "both",
    }


def comparison(a: str, b: str, difference: float, p: float, **changes: Any) -> dict[str, Any]:
    """A row of comparisons.csv: b minus a."""
    row: dict[str, Any] = {"system_a": a, "data_a": "", "system_b": b, "data_b": "", "structure": "ivd"}
    row |= {"metric": "dice", "patients": 9, "mean_difference": difference, "low": difference - 0.01}
    row |= {"high": difference + 0.01, "p": p / 3, "p_corrected": p, "significant": p < 0.05}
    return {**row, "not_compared": 0, **changes}


def pathology_row(**changes: Any) -> dict[str, Any]:
    """A row of pathology.csv."""
    row: dict[str, Any] = {"system": "Refined", "data": "", "structure": "ivd", "finding": "disc narrowing"}
    row |= {"present": 4, "absent": 6, "unknown": 0, "mean_present": 0.8, "mean_absent": 0.9}
    row |= {"sd_present": 0.02, "sd_absent": 0.01, "hedges_g": -0.5, "g_low": -0.9, "g_high": -0.1}
    row |= {"t": -2.5, "df": 7.25, "p": 0.02, "p_corrected": 0.04, "significant": True}
    return {**row, "test": "Welch's t-test", "fit": "", "reason": "", **changes}


def pathology(*rows: dict[str, Any], notes: Sequence[str] = (), **more: Any) -> Pathology:
    return Pathology(Path(), pd.DataFrame(rows), pd.DataFrame(), notes=tuple(notes), **more)


def png(path: Path) -> Path:
    Figure(figsize=(2, 1), dpi=50).savefig(path)
    return path


def everything(folder: Path) -> dict[str, Any]:
    """Contents of all sections of a report."""
    entry = FigureEntry("Boxes", "Dice of all cases", png(folder / "boxes.png"))
    return {
        "comparisons": pd.DataFrame([comparison("Stage 1", "Refined", 0.2, 0.01)]),
        "figures": Figures((entry,), ("No pairs were drawn.",)),
        "cohort": Cohort({"Patients": pd.DataFrame({"women": ["3 (60 %)"]})}, ()),
        "pathology": pathology(pathology_row(), notes=["Findings at any level count."]),
    }


def write_report(folder: Path, evaluation: Evaluation, **more: Any) -> str:
    """Write a report and return its page.

    Args:
        more: fields of `Contents`, and keywords of `write_page`.
    """
    contents = {name: more.pop(name) for name in list(more) if name in Contents.__dataclass_fields__}
    out = folder / "report.html"
    write_page(Contents(evaluation, **contents), out, **more)
    return out.read_text(encoding="utf-8")


def lines_of(table: Any) -> list[dict[str, str]]:
    """Heading to text, for every row of a table as it is shown."""
    assert isinstance(table, Table)
    columns = columns_of(table.frame)
    return [{c.heading: c.cells[row].text for c in columns} for row in range(len(table.frame))]
