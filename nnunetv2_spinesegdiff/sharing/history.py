"""Read from a results folder how its model was trained, for the manifest and the card."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from ..dataset_conversion.published_splits import parse_folds
from ..errors import UserError
from ..files import load_json
from ..labels import summary_key
from .manifest import FINAL


def history_of(
    model: Path, fold: str, checkpoint: str, epochs: int | None, dataset: str, labels: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect the known facts about one fold's training.

    Args:
        model: results folder.
        checkpoint: file name; validation scores are those of the final one.
        epochs: that the checkpoint was trained for, if known.
        dataset: nnU-Net's name, under which the splits are stored.
        labels: of dataset.json.

    Returns:
        `epochs`; `cases`, the validated ones; `dice`, structure and "mean" to {"stage1", "refined"} or
        {"predicted"}; `stage1_frozen`; `split`, numbers of train and val cases and, if the names of all
        cases hold the patient, of patients. Unknown values are missing.
    """
    known: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    if checkpoint == FINAL:
        known |= validation_of(model / f"fold_{fold}", epochs, labels)
    split = _split(dataset, fold)
    # Another number of cases: the dataset was split again since.
    if split and known.get("cases", split["val_cases"]) == split["val_cases"]:
        known["split"] = split
    return known


def validation_of(fold: Path, epochs: int | None, labels: Mapping[str, Any]) -> dict[str, Any]:
    """`cases`, `dice` and `stage1_frozen` of `history_of`, from the folder of a fold."""
    refinement, summary = fold / "refinement.json", fold / "validation" / "summary.json"
    return _refinement(refinement, epochs) or _validation(summary, labels)


def mean_dice(trainings: Iterable[Mapping[str, Any]]) -> float | None:
    """Mean Dice of the structures on the validation cases, over those trainings for which it is known."""
    means = [known["dice"]["mean"] for known in trainings if known.get("dice")]
    known = [row.get("refined", row.get("predicted")) for row in means]
    values = [value for value in known if value is not None]
    return sum(values) / len(values) if values else None


def _refinement(path: Path, epochs: int | None) -> dict[str, Any]:
    """The comparison that a training of two stages ends with; of an earlier training, nothing."""
    report = _read(path)
    if not isinstance(report, dict) or (epochs is not None and report.get("epoch", epochs) != epochs):
        return {}
    dice = {
        name: {stage: row[stage] for stage in ("stage1", "refined")} for name, row in report["dice"].items()
    }
    return {"cases": report["cases"], "dice": dice, "stage1_frozen": bool(report.get("stage1_frozen"))}


def _validation(path: Path, labels: Mapping[str, Any]) -> dict[str, Any]:
    """nnU-Net's own validation, of models without a stage 1."""
    summary = _read(path)
    if not isinstance(summary, dict):
        return {}
    keys = {summary_key(label): name for name, label in labels.items()}
    dice = {keys.get(key, key): scores["Dice"] for key, scores in summary["mean"].items()}
    known = {name: value if isfinite(value) else None for name, value in dice.items()}
    values = [value for value in known.values() if value is not None]
    known["mean"] = sum(values) / len(values) if values else None
    predicted = {name: {"predicted": value} for name, value in known.items()}
    return {"cases": len(summary["metric_per_case"]), "dice": predicted}


def _split(dataset: str, fold: str) -> dict[str, int]:
    """Numbers of cases and patients; empty where the splits are not on this machine."""
    folder = os.environ.get("nnUNet_preprocessed")
    path = Path(folder or "") / dataset / "splits_final.json"
    splits = _read(path) if folder and fold != "all" else None
    if not isinstance(splits, list) or int(fold) >= len(splits):
        return {}
    counts = {f"{part}_cases": len(splits[int(fold)][part]) for part in ("train", "val")}
    try:
        balanced = parse_folds(splits, str(path))[int(fold)]
    except UserError:  # names of another dataset tell no patients
        return counts
    return {
        **counts,
        "train_patients": len(balanced.train_patients),
        "val_patients": len(balanced.val_patients),
    }


def _read(path: Path) -> Any:
    try:
        return load_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(path, "cannot be read, it may be truncated", "validate again, or remove it") from None
