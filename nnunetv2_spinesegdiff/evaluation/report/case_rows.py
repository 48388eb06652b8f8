"""From the files of a case to its row of slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import UserError
from ...images.orientation import view_of
from ...plots import CaseRow
from .evaluation_folder import Evaluation, System
from .volumes import Volume, read_volume

TRUTH = "truth"


def cases_of(evaluation: Evaluation, systems: Sequence[System]) -> pd.DataFrame:
    """The rows of `Evaluation.cases` that belong to some systems, with the system's label as `label_of`."""
    labels = {(system.name, system.data): system.label for system in systems}
    owners = [
        labels.get(key) for key in zip(evaluation.cases["system"], evaluation.cases["data"], strict=True)
    ]
    table = evaluation.cases.assign(label_of=owners)
    return table[table["label_of"].notna()]


def worst_cases(evaluation: Evaluation, system: System, number: int) -> list[str]:
    """The cases with the lowest mean Dice over structures, the worst first; those without any Dice never."""
    means = evaluation.of(system).groupby("case")["dice"].mean().dropna()
    return means.sort_values(kind="stable").index[:number].tolist()


def case_row(
    evaluation: Evaluation, systems: Sequence[System], case: str, sure: System | None
) -> CaseRow | str:
    """Slices of a case: its image, its label, the mask of each system, and the uncertainty of one.

    Of a volume the sagittal slice with most of the label is shown, turned by the label's header. Where
    several folds predicted the case, the first one's mask is taken.

    Args:
        systems: whose masks are shown, under their labels; one that did not predict the case shows none.
        sure: whose uncertainty is shown.

    Returns:
        the row, or in words why there is none: no system predicted the case, or it has no image.

    Raises:
        UserError: a file is missing or cannot be read, or does not lie where the label does.
    """
    table = cases_of(evaluation, systems)
    rows = table[table["case"] == case].drop_duplicates("label_of").set_index("label_of")
    if rows.empty:
        return "which none of the systems predicted"
    images = [path for path in rows["image"] if path]
    if not images:
        return "which has no image; name the images' folder when you evaluate"
    if not images[0].is_file():
        return f"whose image {images[0]} is not there"
    if not (paths := [path for path in rows["label"] if path]):
        raise UserError(evaluation.folder, f"has no label of {case}", "run spinesegdiff evaluate again")
    truth = read_volume(paths[0])
    view = view_of(truth.values, truth.direction, truth.spacing)

    def shown(path: Path | None) -> np.ndarray | None:
        return view.of(_placed(path, truth).values) if path else None

    image = shown(images[0])
    assert image is not None
    masks = {system.label: shown(rows["prediction"].get(system.label)) for system in systems}
    return CaseRow(
        case,
        image,
        {TRUTH: view.of(truth.values), **masks},
        shown(rows["uncertainty"].get(sure.label)) if sure else None,
        view.spacing,
        _dice(evaluation, systems, case),
    )


def _placed(path: Path, truth: Volume) -> Volume:
    volume = read_volume(path)
    volume.check_on(truth)
    return volume


def _dice(evaluation: Evaluation, systems: Sequence[System], case: str) -> Mapping[str, float]:
    """Mean over structures, a system; without those that have none."""
    means = {}
    for system in systems:
        scores = evaluation.of(system)
        means[system.label] = float(scores.loc[scores["case"] == case, "dice"].mean())
    return {label: mean for label, mean in means.items() if not np.isnan(mean)}
