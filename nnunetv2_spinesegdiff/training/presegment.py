"""`spinesegdiff presegment`: the stock folds' validation predictions, on the grid that a refiner trains on.

A fold's validation cases are those that it was not trained on, so together the folds' predictions are what
stage 1 makes of scans it has not seen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.training.dataloading.nnunet_dataset import (
    comp_blosc2_params,
    file_ending_dataset_mapping,
    infer_dataset_class,
    nnUNetDatasetBlosc2,
)
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from ..errors import NotSupportedError, UserError
from ..files import written_whole
from ..inference.pool import each_case
from ..inference.probabilities import read_probabilities
from ..inference.scan_grid import ScanGrid
from ..text import listed, reason_of
from .presegmentations import (
    CHECKPOINT,
    MANIFEST,
    SPLITS,
    STOCK_TRAINERS,
    Manifest,
    Sources,
    digest,
    folder_of_collection,
    id_of,
)

_NAMED = 5
"""Cases of a fold that are named in a message; of more there is a count."""


@dataclass(frozen=True)
class Stock:
    """A stock training with its folds, and the data that it was trained on.

    Attributes:
        results, preprocessed: the dataset's folders in nnUNet_results and nnUNet_preprocessed.
        trainer: its name.
        plans_json, dataset_json: content of the preprocessed dataset's files.
        configuration_name: of these plans.
    """

    results: Path
    preprocessed: Path
    trainer: str
    plans_json: dict[str, Any]
    dataset_json: dict[str, Any]
    configuration_name: str

    @property
    def plans(self) -> PlansManager:
        return PlansManager(self.plans_json)

    @property
    def configuration(self) -> ConfigurationManager:
        return self.plans.get_configuration(self.configuration_name)

    @property
    def model(self) -> Path:
        return self.results / f"{self.trainer}__{self.plans.plans_name}__{self.configuration_name}"

    @property
    def cases_folder(self) -> Path:
        return self.preprocessed / self.configuration.data_identifier

    @property
    def out(self) -> Path:
        return folder_of_collection(
            self.preprocessed, self.trainer, self.plans.plans_name, self.configuration_name
        )

    def checkpoint(self, fold: int) -> Path:
        return self.model / f"fold_{fold}" / CHECKPOINT

    def prediction(self, case: str, fold: int) -> Path:
        return self.model / f"fold_{fold}" / "validation" / f"{case}.npz"

    def train(self, fold: int, flags: str) -> str:
        """The command that trains or validates a fold."""
        words = f"nnUNetv2_train {id_of(self.plans.dataset_name)} {self.configuration_name} {fold}"
        words += f" -tr {self.trainer}" if self.trainer != STOCK_TRAINERS[0] else ""
        words += f" -p {self.plans.plans_name}" if self.plans.plans_name != "nnUNetPlans" else ""
        return f"`{words} {flags}`"


@dataclass
class Collected:
    """Result of a collection.

    Attributes:
        folder: of the collection.
        cases: that have an out-of-fold presegmentation now, sorted.
        never_held_out: those that no fold is validated on.
        failures: a line for every fold or case that something is wrong with. The manifest is written, and
            the collection complete, only where there is none.
    """

    folder: Path
    cases: list[str] = field(default_factory=list)
    never_held_out: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def find_stock(
    results: Path, preprocessed: Path, configuration: str, plans: str, trainer: str | None = None
) -> Stock:
    """The stock training to collect from: the one named, else the first of `STOCK_TRAINERS` that has a fold.

    Args:
        results, preprocessed: the dataset's folders.
        configuration, plans: names; the plans exist and have the configuration.

    Raises:
        UserError: no fold of it is trained to its end.
        NotSupportedError: the configuration is the second of a cascade.
    """
    plans_json = load_json(str(preprocessed / f"{plans}.json"))
    dataset_json = load_json(str(preprocessed / "dataset.json"))
    candidates = [
        Stock(results, preprocessed, name, plans_json, dataset_json, configuration)
        for name in ([trainer] if trainer else STOCK_TRAINERS)
    ]
    if candidates[0].configuration.previous_stage_name is not None:
        raise NotSupportedError(
            f"configuration {configuration}",
            "has presegmentations as an input already, those of "
            f"{candidates[0].configuration.previous_stage_name}",
            "other folds' are not used with them",
        )
    for stock in candidates:
        if any(stock.model.glob(f"fold_[0-9]*/{CHECKPOINT}")):
            return stock
    raise UserError(
        candidates[0].model,
        "no fold is trained to its end",
        f"run {candidates[0].train(0, '--npz')} and the same for the other folds, or name another trainer "
        "with -tr",
    )


def collect(stock: Stock, num_processes: int = 1) -> Collected:
    """Bring every case's softmax onto the preprocessed grid, and write its label map next to it.

    Files that were made from the same prediction are kept. Of a case in several folds' validation
    the first fold's prediction is taken: it is out of fold as well.

    Returns:
        Also where folds or cases failed; all others are done then.

    Raises:
        UserError: folds or fingerprint of the dataset are missing, or a worker was killed.
    """
    sources = Sources.as_they_are(stock.model, stock.preprocessed, stock.plans, stock.configuration)
    # Only the end of a run that finds nothing wrong makes the collection complete again.
    (stock.out / MANIFEST).unlink(missing_ok=True)
    collected = Collected(stock.out)
    preprocessed = set(infer_dataset_class(str(stock.cases_folder)).get_identifiers(str(stock.cases_folder)))
    fold_of = _fold_of_cases(stock.preprocessed / SPLITS)
    collected.never_held_out = sorted(preprocessed - set(fold_of))
    todo = _predicted_cases(stock, fold_of, preprocessed, collected.failures)
    work = partial(_attempt, stock, fold_of, sources.preprocessing)
    failures = dict(each_case(work, todo, num_processes, "Presegmentations"))
    collected.cases = [case for case in todo if failures[case] is None]
    collected.failures += [failure for case in todo if (failure := failures[case]) is not None]
    for case in collected.never_held_out:
        # nnU-Net's loader wants a file of every case.
        _save_labels(stock, case, np.zeros(_preprocessed(stock, case)[0], np.uint8))
    if not collected.failures:
        Manifest(sources, collected.cases, collected.never_held_out).save(stock.out)
    return collected


# --- folds -----------------------------------------------------------------------------------------------


def _fold_of_cases(splits: Path) -> dict[str, int]:
    """The first fold that is validated on each case."""
    try:
        validated = [list(fold["val"]) for fold in json.loads(splits.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(splits, f"holds no folds of nnU-Net ({reason_of(error, with_type=True)})") from None
    fold_of: dict[str, int] = {}
    for fold, cases in enumerate(validated):
        for case in cases:
            fold_of.setdefault(case, fold)
    if not fold_of:
        raise UserError(splits, "holds no fold with a validation case")
    return fold_of


def _predicted_cases(
    stock: Stock, fold_of: dict[str, int], preprocessed: set[str], failures: list[str]
) -> list[str]:
    """The cases whose predictions can be taken, sorted; in `failures` a line for all that a fold lacks."""
    usable = []
    for fold in sorted(set(fold_of.values())):
        cases = sorted(case for case in fold_of if fold_of[case] == fold)
        checkpoint = stock.checkpoint(fold)
        if not checkpoint.is_file():
            failures.append(
                f"{checkpoint.parent}: the training is not finished, its {len(cases)} validation cases are "
                f"missing ({listed(cases, _NAMED)}); run {stock.train(fold, '--npz')}"
            )
            continue
        unknown = [case for case in cases if case not in preprocessed]
        missing = [case for case in cases if not stock.prediction(case, fold).is_file()]
        trained = checkpoint.stat().st_mtime
        older = [
            case
            for case in cases
            if case not in missing and stock.prediction(case, fold).stat().st_mtime < trained
        ]
        if unknown:
            failures.append(
                f"{stock.cases_folder}: lacks {len(unknown)} validation cases of fold {fold} "
                f"({listed(unknown, _NAMED)}); preprocess the dataset again"
            )
        validation = f"{checkpoint.parent / 'validation'}"
        if missing:
            failures.append(
                f"{validation}: lacks the probabilities (.npz) of {len(missing)} of {len(cases)} cases "
                f"({listed(missing, _NAMED)}); run {stock.train(fold, '--val --npz')}, or train the "
                f"fold again if {SPLITS} was changed since"
            )
        if older:
            failures.append(
                f"{validation}: {len(older)} of {len(cases)} predictions are older than {checkpoint.name}, "
                f"an earlier training's ({listed(older, _NAMED)}); run {stock.train(fold, '--val --npz')}"
            )
        usable += [case for case in cases if case not in {*unknown, *missing, *older}]
    return sorted(usable)


# --- case ------------------------------------------------------------------------------------------------


def _attempt(stock: Stock, fold_of: dict[str, int], preprocessing: dict[str, Any], case: str) -> str | None:
    """Collect one case; the failure in one line, None where there is none."""
    again = f"run {stock.train(fold_of[case], '--val --npz')}"
    try:
        _collect_case(stock, case, stock.prediction(case, fold_of[case]), preprocessing, again)
    except UserError as error:
        return str(error)
    except Exception as error:
        # Whatever it is, the other cases must not be lost over it.
        todo = "run again with a smaller -np" if isinstance(error, MemoryError) else again
        return f"{stock.prediction(case, fold_of[case])}: {reason_of(error, with_type=True)}; {todo}"
    return None


def _collect_case(
    stock: Stock, case: str, prediction: Path, preprocessing: dict[str, Any], again: str
) -> None:
    shape, properties = _preprocessed(stock, case)
    softmax = stock.out / "softmax" / f"{case}.npz"
    made_from = {"prediction": digest(prediction), "preprocessing": preprocessing, "shape": shape}
    record = json.dumps(made_from, sort_keys=True)
    if _label_file(stock, case).is_file() and _record_in(softmax) == record:
        return
    grid = ScanGrid(stock.plans, stock.configuration, stock.dataset_json, properties, num_threads=1)
    on_scan = read_probabilities(prediction, (grid.labels.num_segmentation_heads, *grid.shape()), again)
    probabilities = grid.on_network_grid(on_scan, shape)
    segmentation = np.asarray(grid.labels.convert_probabilities_to_segmentation(probabilities))
    _save_labels(stock, case, segmentation)
    # Last: its record says that the label map is there, too.
    with written_whole(softmax) as temporary:
        np.savez_compressed(temporary, probabilities=probabilities.astype(np.float16), made_from=record)


def _preprocessed(stock: Stock, case: str) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Spatial shape of a preprocessed case, and what nnU-Net noted of its scan."""
    folder = str(stock.cases_folder)
    data, _, _, properties = infer_dataset_class(folder)(folder, [case]).load_case(case)
    return tuple(int(n) for n in data.shape[1:]), properties


def _label_file(stock: Stock, case: str) -> Path:
    dataset_class = infer_dataset_class(str(stock.cases_folder))
    endings = [ending for ending, cls in file_ending_dataset_mapping.items() if cls is dataset_class]
    return stock.out / f"{case}.{endings[0]}"


def _save_labels(stock: Stock, case: str, segmentation: np.ndarray) -> None:
    """Write a label map as nnU-Net writes those of a cascade's first stage."""
    labels = stock.plans.get_label_manager(stock.dataset_json)
    segmentation = segmentation.astype(np.uint8 if len(labels.foreground_labels) < 255 else np.uint16)
    dataset_class = infer_dataset_class(str(stock.cases_folder))
    chunks: dict[str, list[int]] = {}
    if dataset_class is nnUNetDatasetBlosc2:
        patch = tuple(stock.configuration.patch_size)
        block, chunk = comp_blosc2_params((1, *segmentation.shape), patch, segmentation.itemsize)
        chunks = {"blocks_seg": list(block[1:]), "chunks_seg": list(chunk[1:])}
    path = _label_file(stock, case)
    with written_whole(path) as temporary:
        dataset_class.save_seg(segmentation, str(temporary).removesuffix(path.suffix), **chunks)


def _record_in(softmax: Path) -> str | None:
    """Read what a collected case was made from; None if it is missing or incomplete."""
    try:
        with np.load(softmax, allow_pickle=False) as archive:
            return str(archive["made_from"])
    except Exception:  # whatever is wrong with it, it is made again
        return None
