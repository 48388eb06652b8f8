"""One case of a system against its label: read, checked and scored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from ...errors import UserError
from ...images.grid import check_same_grid
from ...images.reading import read_scalar_volume
from ...labels import SPIDER_DISCS
from ...text import reason_of
from ...uncertainty.confidence import Structures, structure_mask
from ...workers import worker_processes
from ..columns import DISTANCES, FOUND, SIZES
from ..scores import level_dice, score_case
from .sources import Case

SECONDS_A_PROCESS = 20.0
"""Less work than this is done before another process has loaded what it needs."""
MIN_NUMBERED = 0.9
"""Share of the label's disc voxels that must have a number; both are resampled, so edges may have none."""


@dataclass(frozen=True)
class Work:
    """A case to score.

    Attributes:
        structures, ignore: of its system.
        instances: SPIDER's mask, which numbers the discs, or None.
    """

    case: Case
    structures: Structures
    ignore: int | None = None
    instances: Path | None = None


@dataclass
class Scored:
    """The scores of a case.

    Attributes:
        dim: "2D" or "3D"; empty where there were no masks.
        rows: the columns of scores.csv from `structure` on.
        levels: those of level_scores.csv from `level` on.
        failure: why there is neither, in one line.
        level_failure: why there are no levels, though they were asked for.
    """

    dim: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    levels: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None
    level_failure: str | None = None


def score_all(works: Sequence[Work], num_processes: int) -> Iterator[Scored]:
    """Score every case, in their order.

    Raises:
        UserError: a worker was killed.
    """
    yield from tqdm(
        _in_processes(works, num_processes), total=len(works), desc="Scoring", unit="case", disable=None
    )


def _in_processes(works: Sequence[Work], num_processes: int) -> Iterator[Scored]:
    # The first case loads libraries; the time of the second one is an estimate for the others.
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
    with worker_processes(workers) as pool:
        yield from pool.map(score, rest)


def score(work: Work) -> Scored:
    """Read and score one case; a user's mistake becomes its `failure`."""
    try:
        return _score(work)
    except UserError as error:
        return Scored(failure=str(error))
    except (MemoryError, RuntimeError, ValueError) as error:
        # Whatever is wrong with one case must not stop the others.
        reason = reason_of(error)
        return Scored(failure=f"{work.case.prediction}: cannot be scored ({reason}); look at the file")


def _score(work: Work) -> Scored:
    case = work.case
    if case.metrics is not None and not case.has_masks:
        return Scored(rows=[_row_of(name, case.metrics, labels) for name, labels in work.structures.items()])
    label, prediction = (read_scalar_volume(path, placed=False) for path in (case.label, case.prediction))
    check_same_grid(case.prediction, prediction, case.label, label)
    truth, mask = (sitk.GetArrayViewFromImage(image) for image in (label, prediction))
    _refuse_unknown(truth, case.label, work)
    _refuse_unknown(mask, case.prediction, work)
    spacing = label.GetSpacing()[::-1]
    scored = Scored("2D" if 1 in truth.shape else "3D")
    scored.rows = score_case(truth, mask, spacing, work.structures, work.ignore)
    if work.instances:
        try:
            scored.levels = _levels(work, label, mask)
        except UserError as error:
            scored.level_failure = str(error)
    return scored


def _refuse_unknown(mask: np.ndarray, path: Path, work: Work) -> None:
    """Reject a value that is not a structure's; it would count as background."""
    known = {0, *(v for value in work.structures.values() for v in np.atleast_1d(value).tolist())}
    unknown = sorted(set(np.unique(mask).tolist()) - known - {work.ignore})
    if unknown:
        raise UserError(
            path, f"holds label {unknown[0]:g}, which dataset.json does not name", "is it of another dataset?"
        )


def _row_of(name: str, metrics: Mapping[str, Any], labels: int | tuple[int, ...]) -> dict[str, Any]:
    """A row from nnU-Net's own metrics: overlaps, but neither distances nor sizes in mm."""
    # nnU-Net's key of a region with a single label is that of a tuple.
    own = metrics.get(str(labels), metrics.get(f"({labels},)"))
    if own is None:
        raise UserError(None, f"summary.json has no structure {name} ({labels})", "evaluate again")
    return {
        "structure": name,
        "dice": own["Dice"],
        "jaccard": own["IoU"],
        **dict.fromkeys((*DISTANCES, *SIZES), np.nan),
        "found": FOUND[own["n_ref"] > 0, own["n_pred"] > 0],
    }


def _levels(work: Work, label: sitk.Image, mask: np.ndarray) -> list[dict[str, Any]]:
    """Score every disc. The label's disc voxels take the number that SPIDER's mask has at their place.

    Raises:
        UserError: there is no such mask, or the label's discs are not where its discs are.
    """
    assert work.instances is not None
    instances = read_scalar_volume(work.instances, placed=False)
    how = (sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkInt32)
    numbers = sitk.GetArrayFromImage(sitk.Resample(instances, label, *how))
    discs = work.structures["ivd"]
    true = structure_mask(sitk.GetArrayViewFromImage(label), discs)
    levels = np.where(np.isin(numbers, SPIDER_DISCS) & true, numbers - SPIDER_DISCS[0] + 1, 0)
    share = np.count_nonzero(levels) / np.count_nonzero(true) if true.any() else 1.0
    if share < MIN_NUMBERED:
        raise UserError(
            work.instances,
            f"numbers {share:.0%} of the discs of {work.case.label.name}",
            "is it the mask of that series, and where the label is?",
        )
    predicted = structure_mask(mask, discs)
    if work.ignore is not None:
        predicted &= sitk.GetArrayViewFromImage(label) != work.ignore
    spacing = label.GetSpacing()[::-1]
    sizes = SIZES[:2] if 1 in mask.shape else SIZES[2:]
    return [
        {"level": level, "dice": dice, **dict(zip(sizes, areas, strict=True))}
        for level, (dice, *areas) in level_dice(levels, predicted, spacing).items()
    ]
