"""The masks of every system with their labels and heatmaps: from folders, trained models or summaries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...labels import CLASSES
from ...uncertainty.confidence import Structures
from ..columns import Name
from .evaluation_folder import System
from .plain_tables import reading_results

SYSTEMS = "systems.json"
"""In the output folder of `spinesegdiff reproduce`: its systems and the folders of their folds."""
PREDICTED_HOW = "spinesegdiff_args.json"
READABLE = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")


@dataclass(frozen=True)
class Case:
    """One case of one system.

    Attributes:
        fold: empty where it belongs to none.
        name: nnU-Net's case name.
        label, prediction: files; a prediction may be missing.
        uncertainty: a heatmap, or None.
        levels: SPIDER's numbers of the predicted vertebrae and discs, or None.
        metrics: of nnU-Net's summary.json, by structure key; used where its masks are missing.
    """

    fold: str
    name: str
    label: Path
    prediction: Path
    uncertainty: Path | None = None
    metrics: Mapping[str, Any] | None = None
    levels: Path | None = None

    @property
    def has_masks(self) -> bool:
        return self.label.is_file() and self.prediction.is_file()


@dataclass
class Source:
    """A system and all of its cases.

    Attributes:
        labels_json: nnU-Net's `labels` of the dataset.
        dataset: folder of the raw dataset, if known, with images and cases.csv.
        missing: labels without a prediction, one line each.
        notes: on the cases.
        numbered: the labels have SPIDER's numbers instead of `labels_json`.
    """

    system: System
    labels_json: Mapping[str, Any]
    cases: list[Case]
    dataset: Path | None = None
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    numbered: bool = False

    @property
    def structures(self) -> Structures:
        """Name to label or labels, the foreground only."""
        labels = {n: tuple(np.atleast_1d(v).tolist()) for n, v in self.labels_json.items() if n != "ignore"}
        plain = {n: v[0] if len(v) == 1 else v for n, v in labels.items() if n != "background"}
        return {n: v for n, v in plain.items() if v != 0}

    @property
    def ignore(self) -> int | None:
        value = self.labels_json.get("ignore")
        return value if isinstance(value, int) else None


def parse_system(words: str, control: bool = False) -> tuple[System, Path]:
    """`NAME=PATH` or `NAME@DATA=PATH`.

    Raises:
        UserError: it is neither.
    """
    places = [match.start() for match in re.finditer("=", words)]
    # "T = 30=masks" is a system of the paper's table 2, and a path may contain "=", too.
    existing = [i for i in places if words[i + 1 :].strip() and _path(words[i + 1 :]).exists()]
    cut = (existing or places or [len(words)])[0]
    name, path = words[:cut].strip(), words[cut + 1 :].strip()
    if not name or not path:
        raise UserError(words, "must be NAME=PATH, or NAME@DATA=PATH with what it was trained on")
    name, _, data = name.partition("@")
    return System(name.strip(), data.strip(), control), _path(path)


def _path(text: str) -> Path:
    return Path(text.strip()).expanduser()


def gather(
    named: Sequence[tuple[System, Path]],
    labels: Path | None,
    nnunet_raw: Path | None = None,
    instances: Path | None = None,
) -> list[Source]:
    """Collect the cases of all systems; one that is named several times has the cases of all its paths.

    A path is a folder of masks (`labels` are needed), the folder of a trained model with the validation masks
    of its folds, or a summary.json of nnU-Net.

    Args:
        labels: folder of the labels.
        nnunet_raw: folder with the raw dataset of a trained model.
        instances: folder of masks with SPIDER's numbers, which are the labels of folders without `labels`.

    Raises:
        UserError: a path that is none of these.
    """
    sources: dict[tuple[str, str], Source] = {}
    for system, path in named:
        made = _source(system, path, labels, nnunet_raw, instances)
        known = sources.setdefault(system.key, made)
        if known is not made:
            if known.labels_json != made.labels_json:
                raise UserError(path, f"has other labels than what came before of {system.label}")
            known.cases += made.cases
            known.missing += made.missing
            known.notes += made.notes
    return list(sources.values())


def check_together(sources: Sequence[Source]) -> None:
    """Check that systems can be in one table.

    Raises:
        UserError: two with the same name, two of which only one has its training data, a case twice in one,
            or structures that differ.
    """
    seen: set[Name] = set()
    for source in sources:
        system = source.system
        if system.key in seen:
            raise UserError(system.label, "there are two systems of this name", "give one another")
        seen.add(system.key)
        _refuse_twice(source)
        if source.structures != sources[0].structures:
            cause = f"has other structures than {sources[0].system.label}"
            raise UserError(system.label, cause, "evaluate them apart")
    for name, data in seen:
        if data and (name, "") in seen:
            advice = f"name what all were trained on ({name}@DATA=PATH), or none"
            raise UserError(name, "only some of its systems name what they were trained on", advice)


def reproduced(folder: Path) -> tuple[list[Source], str]:
    """The systems of a finished `spinesegdiff reproduce`, and the title of its table.

    Raises:
        UserError: the folder holds none.
    """
    with reading_results(folder, "reproduce"):
        record = json.loads((folder / SYSTEMS).read_text(encoding="utf-8"))
        return [_reproduced_system(folder, entry) for entry in record["systems"]], record["title"]


def _reproduced_system(folder: Path, entry: Mapping[str, Any]) -> Source:
    cases: list[Case] = []
    labels_json: Mapping[str, Any] = {}
    settings = None
    for fold, where in entry["folds"].items():
        labels_json = json.loads((folder / where["dataset_json"]).read_text(encoding="utf-8"))["labels"]
        for name, label in _images_of(folder / where["labels"]):
            mask = folder / where["masks"] / label.name
            # Masks are links into the folders in which they were predicted.
            predicted = mask.resolve().parent
            settings = settings or _read(predicted / PREDICTED_HOW) or None
            cases.append(Case(fold, name, label, mask, _heatmap(predicted, name)))
    control, seconds = entry.get("control", False), entry.get("seconds_a_case")
    system = System(entry["name"], entry["data"], control, seconds, settings)
    dataset = cases[0].label.resolve().parent.parent if cases else None
    return Source(system, labels_json, cases, dataset)


def _source(
    system: System, path: Path, labels: Path | None, nnunet_raw: Path | None, instances: Path | None
) -> Source:
    if path.is_file() and path.suffix == ".json":
        return _of_summaries(system, [path], labels, nnunet_raw)
    if not path.is_dir():
        raise UserError(path, "neither a folder nor a summary.json", f"give the masks of {system.label}")
    folds = sorted(path.glob("fold_*/validation"))
    numbered = [fold for fold in folds if fold.parent.name != "fold_all"]
    if folds:
        left_out = len(numbered) not in (0, len(folds))
        folds = numbered or folds
        missing = [fold for fold in folds if not (fold / "summary.json").is_file()]
        if missing:
            raise UserError(missing[0], "has no summary.json", "finish the training or validate with --val")
        made = _of_summaries(system, [fold / "summary.json" for fold in folds], labels, nnunet_raw)
        if left_out:
            made.notes.append(f"{system.label}: fold all was left out, it is validated on training cases.")
        elif not numbered:
            made.notes.append(f"{system.label}: fold all is validated on the cases that it was trained on.")
        return made
    return _of_masks(system, path, labels, instances)


def _of_masks(system: System, folder: Path, labels: Path | None, instances: Path | None) -> Source:
    from_numbers = labels is None
    labels = labels or instances
    if labels is None:
        raise UserError(folder, "holds masks alone", "name the folder of their labels with -l")
    if not labels.is_dir():
        raise UserError(labels, "not a folder", "give the folder of the labels")
    default = CLASSES if from_numbers else None
    labels_json = _labels_json([folder, folder.parent, labels.parent], default)
    masks = dict(_images_of(folder))
    cases, missing = [], []
    for name, label in _images_of(labels):
        levels = masks.get(f"{name}_levels")
        mask = masks.get(name) or masks.get(f"{name}_seg") or levels
        if mask:
            cases.append(Case("", name, label, mask, _heatmap(folder, name), levels=levels))
        else:
            missing.append(f"{folder}: {system.label} has no prediction of {name}; predict it")
    if not cases:
        raise UserError(folder, f"holds no prediction of a case in {labels}", "name other folders")
    settings = _read(folder / PREDICTED_HOW) or None
    own = replace(system, settings=settings)
    return Source(own, labels_json, cases, labels.parent, missing, numbered=from_numbers)


def _of_summaries(
    system: System, files: Sequence[Path], labels: Path | None, nnunet_raw: Path | None
) -> Source:
    cases: list[Case] = []
    labels_json = _labels_json([p for file in files for p in (file.parent, *file.parents[1:3])])
    for file in files:
        content = _read(file)
        if "metric_per_case" not in content:
            raise UserError(file, "not a summary of nnUNetv2_evaluate_folder", "create one with that command")
        fold = next((p.name[5:] for p in file.parents if re.fullmatch(r"fold_\w+", p.name)), "")
        for entry in content["metric_per_case"]:
            if missing := {"reference_file", "prediction_file", "metrics"} - set(entry):
                advice = "make it with nnUNetv2_evaluate_folder"
                raise UserError(file, f"a case has no {min(missing)}", advice)
            reference, prediction = Path(entry["reference_file"]), Path(entry["prediction_file"])
            beside = file.parent / prediction.name
            label = labels / reference.name if labels else reference
            name = _case_name(prediction)
            mask = beside if beside.is_file() else prediction
            heat = _heatmap(file.parent, name)
            cases.append(Case(fold, name, label, mask, heat, entry["metrics"]))
    if labels or any(case.has_masks for case in cases):
        # nnU-Net's numbers replace masks that are all on another machine, not a single missing one.
        cases = [replace(case, metrics=None) for case in cases]
    dataset = labels.parent if labels else _raw_dataset(files[0], cases, nnunet_raw)
    return Source(system, labels_json, cases, dataset)


def _raw_dataset(file: Path, cases: Sequence[Case], nnunet_raw: Path | None) -> Path | None:
    """The dataset whose name is part of a model's path, or of the labels'."""
    parts = (*file.parts, *(cases[0].label.parts if cases else ()))
    name = next((part for part in parts if re.fullmatch(r"Dataset\d{3}_.+", part)), None)
    return nnunet_raw / name if nnunet_raw and name and (nnunet_raw / name).is_dir() else None


def _labels_json(folders: Sequence[Path], default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """nnU-Net's labels, of the first dataset.json found, or a default."""
    for folder in folders:
        labels = _read(folder / "dataset.json").get("labels")
        if isinstance(labels, dict):
            return labels
    if default is not None:
        return default
    raise UserError(folders[0], "has no dataset.json, which names the structures", "copy the model's there")


def _images_of(folder: Path) -> list[tuple[str, Path]]:
    """Case name and file, by name."""
    files = (p for p in folder.iterdir() if p.name.endswith(READABLE) and not p.name.startswith("."))
    return sorted((_case_name(path), path) for path in files)


def _case_name(path: Path) -> str:
    ending = next((e for e in READABLE if path.name.endswith(e)), path.suffix)
    return path.name.removesuffix(ending)


def _heatmap(folder: Path, case: str) -> Path | None:
    path = folder / "uncertainty" / f"{case}_uncertainty.nii.gz"
    return path if path.is_file() else None


def _refuse_twice(source: Source) -> None:
    seen: dict[str, Case] = {}
    for case in source.cases:
        other = seen.setdefault(case.name, case)
        if other is not case:
            places = [f"fold {c.fold}" if c.fold else str(c.prediction.parent) for c in (other, case)]
            twice = f"{source.system.label} has it twice, in {' and '.join(places)}"
            raise UserError(case.name, twice, "a case belongs to one fold only")


def _read(path: Path) -> dict[str, Any]:
    """A JSON file; nothing where there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
