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
from ...segmentation.measuring.levels import DISCS
from ...text import reason_of
from ...uncertainty.confidence import Structures, structure_mask
from ...workers import worker_processes
from ..columns import DISTANCES, FOUND, SIZES
from ..instances import NUMBERS, instances_in, match_instances
from ..scores import level_dice, score_case
from .numbering import check_all_slices, classes_of, predicted_numbers, true_instances
from .sources import Case

SECONDS_A_PROCESS = 20.0
"""Less work than this is done before another process has loaded what it needs."""


@dataclass(frozen=True)
class Work:
    """A case to score.

    Attributes:
        structures, ignore: of its system.
        instances: mask with SPIDER's numbers of single vertebrae and discs, or None.
        numbered: the label is such a mask itself.
    """

    case: Case
    structures: Structures
    ignore: int | None = None
    instances: Path | None = None
    numbered: bool = False


@dataclass
class Scored:
    """The scores of a case.

    Attributes:
        dim: "2D" or "3D"; empty where there were no masks.
        rows: the columns of scores.csv from `structure` on.
        levels: those of level_scores.csv from `level` on.
        instances: those of instances.csv from `structure` on.
        failure: why there are no scores, in one line.
        level_failure: why there are no scores of single vertebrae or discs, though they were asked for.
    """

    dim: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    levels: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
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
    if work.numbered:
        label = _with_classes(label, case.label, work)
    if case.prediction == case.levels:
        prediction = _with_classes(prediction, case.prediction, work)
    truth, mask = (sitk.GetArrayViewFromImage(image) for image in (label, prediction))
    _refuse_unknown(truth, case.label, work)
    _refuse_unknown(mask, case.prediction, work)
    if work.numbered:
        check_all_slices(truth, mask, case.prediction)
    spacing = label.GetSpacing()[::-1]
    scored = Scored("2D" if 1 in truth.shape else "3D")
    scored.rows = score_case(truth, mask, spacing, work.structures, work.ignore)
    if work.instances:
        try:
            _score_instances(scored, work, label, prediction)
        except UserError as error:
            scored.level_failure = str(error)
    return scored


def _with_classes(numbers: sitk.Image, path: Path, work: Work) -> sitk.Image:
    array = classes_of(sitk.GetArrayViewFromImage(numbers), path, work.structures)
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(numbers)
    return image


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


def _score_instances(scored: Scored, work: Work, label: sitk.Image, prediction: sitk.Image) -> None:
    """Add the scores of single vertebrae and discs.

    Raises:
        UserError: a structure has no numbers. The others are scored nevertheless.
    """
    assert work.instances is not None
    truth, mask = (sitk.GetArrayViewFromImage(image) for image in (label, prediction))
    spacing = label.GetSpacing()[::-1]
    ignored = truth == work.ignore if work.ignore is not None else np.zeros(truth.shape, bool)
    sizes = SIZES[:2] if 1 in mask.shape else SIZES[2:]
    numbers, failures = None, []
    try:
        numbers = predicted_numbers(work.case, prediction, work.structures)
    except UserError as error:
        failures.append(error)
    for structure in (name for name in NUMBERS if name in work.structures):
        try:
            true = true_instances(work.instances, work.case, label, work.structures, structure)
        except UserError as error:
            failures.append(error)
            continue
        if numbers is not None:
            rows = match_instances(true, instances_in(numbers, structure), spacing, ignored)
            scored.instances += [{"structure": structure, **row} for row in rows]
        if structure == "ivd":
            discs = structure_mask(mask, work.structures["ivd"]) & ~ignored
            dice = level_dice(np.where(true, true - DISCS, 0), discs, spacing)
            scored.levels = [
                {"level": level, "dice": value, **dict(zip(sizes, areas, strict=True))}
                for level, (value, *areas) in dice.items()
            ]
    if failures:
        raise failures[0]
