"""One case of a system against its label: read, checked and scored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from ..errors import UserError
from ..evaluation.confidence import Structures, structure_mask
from ..evaluation.scores import DISTANCES, FOUND, level_dice, score_case
from .masks import check_same_grid, read_mask
from .sources import Case

SECONDS_A_PROCESS = 20.0
"""Less work than this is done before another process has loaded what it needs."""
SPIDER_DISCS = range(201, 226)


@dataclass(frozen=True)
class Work:
    """A case to score.

    Attributes:
        structures, ignore: of its system.
        instances: SPIDER's mask, whose numbers tell the discs apart, or None.
    """

    case: Case
    structures: Structures
    ignore: int | None = None
    instances: Path | None = None


@dataclass
class Scored:
    """What came of a case.

    Attributes:
        dim: "2D" or "3D"; empty where there were no masks.
        rows: scores.csv's columns from `structure` on.
        levels: level_scores.csv's from `level` on.
        failure: why there are none of either, in one line.
    """

    dim: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    levels: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None


def score_all(works: Sequence[Work], num_processes: int) -> Iterator[Scored]:
    """What came of every case, in their order.

    Raises:
        UserError: a worker was killed.
    """
    bar = tqdm(total=len(works), desc="Scoring", unit="case", disable=None)
    with bar:
        for scored in _score_all(works, num_processes):
            bar.update()
            yield scored


def _score_all(works: Sequence[Work], num_processes: int) -> Iterator[Scored]:
    # The first case loads libraries, the second one tells how long the others will take.
    seconds = 0.0
    for work in works[:2]:
        started = time.perf_counter()
        yield score(work)
        seconds = time.perf_counter() - started
    rest = works[2:]
    workers = min(num_processes, len(rest), 1 + int(seconds * len(rest) / SECONDS_A_PROCESS))
    if workers <= 1:
        yield from map(score, rest)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            yield from pool.map(score, rest)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed, most likely for want of memory: run again with a smaller -np"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # One process a core is enough; threads on top of that only get in each other's way.
    import torch

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)


def score(work: Work) -> Scored:
    """Read and score one case; a user's mistake becomes its `failure`."""
    try:
        return _score(work)
    except UserError as error:
        return Scored(failure=str(error))


def _score(work: Work) -> Scored:
    case = work.case
    if case.metrics is not None and not case.has_masks:
        return Scored(rows=[_row_of(name, case.metrics, labels) for name, labels in work.structures.items()])
    label, prediction = read_mask(case.label), read_mask(case.prediction)
    check_same_grid(case.prediction, prediction, case.label, label)
    truth, mask = (sitk.GetArrayViewFromImage(image) for image in (label, prediction))
    _refuse_unknown(mask, case, work)
    spacing = label.GetSpacing()[::-1]
    rows = score_case(truth, mask, spacing, work.structures, work.ignore)
    levels = _levels(work, label, mask) if work.instances else []
    return Scored("2D" if 1 in truth.shape else "3D", rows, levels)


def _refuse_unknown(mask: np.ndarray, case: Case, work: Work) -> None:
    """A value that no structure has would count as background, though it was meant as something."""
    known = {0, *(v for value in work.structures.values() for v in np.atleast_1d(value).tolist())}
    unknown = sorted(set(np.unique(mask).tolist()) - known - {work.ignore})
    if unknown:
        raise UserError(
            f"{case.prediction}: holds label {unknown[0]:g}, which dataset.json does not name; predict again"
        )


def _row_of(name: str, metrics: Mapping[str, Any], labels: int | tuple[int, ...]) -> dict[str, Any]:
    """A row from nnU-Net's own metrics: overlaps, but neither distances nor sizes in mm."""
    key = str(labels)
    if key not in metrics:
        raise UserError(f"summary.json has no structure {name} ({key}); evaluate again")
    own = metrics[key]
    return {
        "structure": name,
        "dice": own["Dice"],
        "jaccard": own["IoU"],
        **dict.fromkeys(DISTANCES, np.nan),
        **dict.fromkeys(("true_mm2", "predicted_mm2", "true_mm3", "predicted_mm3"), np.nan),
        "found": FOUND[own["n_ref"] > 0, own["n_pred"] > 0],
    }


def _levels(work: Work, label: sitk.Image, mask: np.ndarray) -> list[dict[str, Any]]:
    """A row a disc. The label's disc voxels take the number of the nearest disc in SPIDER's mask."""
    assert work.instances is not None
    numbered = sitk.Resample(
        read_mask(work.instances), label, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkInt32
    )
    numbers = sitk.GetArrayFromImage(numbered)
    discs = work.structures["ivd"]
    true = structure_mask(sitk.GetArrayViewFromImage(label), discs)
    levels = np.where(np.isin(numbers, list(SPIDER_DISCS)) & true, numbers - SPIDER_DISCS[0] + 1, 0)
    spacing = label.GetSpacing()[::-1]
    sizes = ("true_mm2", "predicted_mm2") if 1 in mask.shape else ("true_mm3", "predicted_mm3")
    rows = []
    for level, (dice, *areas) in level_dice(levels, structure_mask(mask, discs), spacing).items():
        rows.append({"level": level, "dice": dice, **dict(zip(sizes, areas, strict=True))})
    return rows
