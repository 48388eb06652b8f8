"""A model to predict with, from a folder of results or the zip of an export, without trusting either."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from shutil import rmtree
from typing import Any

from ..errors import UserError
from ..inference.untrusted import check_network_classes, load_safely, read_json
from ..training.presegmentations import digest
from .checkpoints import STOCK_TRAINER, Checkpoint
from .history import mean_dice, validation_of
from .lookups import check_lookups
from .manifest import DATASET, FINAL, MANIFEST, PLANS, Manifest, deciding, identity
from .trained_folder import checkpoint_name, trained_folds, trained_model
from .unpacking import unpack


@dataclass(frozen=True)
class OpenedModel:
    """A model that `SpineSegDiffPredictor` can be initialized with.

    Attributes:
        folder: with plans.json, dataset.json and a folder a fold.
        folds: to predict with.
        checkpoint: file name in the folds' folders.
        sha256: of what decides predictions, the plans, the description of the dataset and the checkpoints of
            these folds: the same for a zip and for what is installed from it.
        label: short name.
        validation_dice: mean Dice on the validation cases of these folds; None if unknown.
        checkpoints: content of the checkpoint of each fold, in the order of `folds`; None if not read. The
            weights are those of the files, which must stay as they are.
    """

    folder: Path
    folds: list[str]
    checkpoint: str
    sha256: str
    label: str
    validation_dice: float | None = None
    checkpoints: list[dict[str, Any]] | None = None


def open_model(
    path: Path, scratch: Path, *, folds: Sequence[str] | None = None, checkpoint: str | None = None
) -> OpenedModel:
    """Open a model that may come from anyone; no code in it is run.

    A zip is unpacked into a new folder below `scratch`, and rejected unless its files are exactly those that
    its manifest lists, with plans that name known classes only and checkpoints that hold tensors and plain
    values. Of a folder, which may be one's own and large, the plans are checked here, and the checkpoints by
    `SpineSegDiffPredictor`, which reads them in the same way.

    Args:
        path: results folder of a model, the folder of its dataset if that holds no other, or the zip of
            `export_model`.
        scratch: existing folder for what is unpacked; whoever gives it removes it.
        folds: None takes all that have the checkpoint, "all" only where no other has.
        checkpoint: None takes "checkpoint_final.pth", or the one that was exported.

    Raises:
        UserError: the model does not exist, or it is rejected. The message states why.
    """
    if path.is_dir():
        return _open_folder(path, folds, checkpoint)
    target = Path(tempfile.mkdtemp(prefix="model_", dir=scratch))
    try:
        folder, manifest = unpack(path, target)
        with _zip_is_named(path, folder):
            contents = _check_unpacked(folder, manifest)
            folds = trained_folds(folder, checkpoint := checkpoint or manifest.checkpoint, folds)
    except BaseException:
        rmtree(target, ignore_errors=True)
        raise
    digests = {name: known["sha256"] for name, known in manifest.files.items()}
    opened = _opened(folder, folds, checkpoint, digests, path.stem)
    dice = mean_dice(manifest.training.get(fold, {}) for fold in folds)
    return replace(opened, validation_dice=dice, checkpoints=[contents[fold] for fold in folds])


def _open_folder(path: Path, wanted: Sequence[str] | None, checkpoint: str | None) -> OpenedModel:
    folder = trained_model(path)
    plans = read_json(folder / PLANS)
    check_network_classes(plans, folder / PLANS)
    name = checkpoint_name(folder, checkpoint)
    folds = trained_folds(folder, name, wanted)
    digests = {file: digest(folder / file) for file in deciding(folds, name)}
    dataset = plans.get("dataset_name", folder.parent.name)
    opened = _opened(folder, folds, name, digests, f"{dataset}/{folder.name}")
    return replace(opened, validation_dice=_validation_dice(folder, folds) if name == FINAL else None)


def _validation_dice(folder: Path, folds: Sequence[str]) -> float | None:
    """Mean validation Dice of a folder of results, or of an installed model."""
    with suppress(UserError, OSError, KeyError, TypeError):
        if (folder / MANIFEST).exists():
            manifest = Manifest.from_text((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
            return mean_dice(manifest.training.get(fold, {}) for fold in folds)
        labels = read_json(folder / DATASET)["labels"]
        return mean_dice(validation_of(folder / f"fold_{fold}", None, labels) for fold in folds)
    return None


def _opened(
    folder: Path, folds: list[str], checkpoint: str, digests: dict[str, str], label: str
) -> OpenedModel:
    sha256 = identity({file: digests[file] for file in deciding(folds, checkpoint)})
    return OpenedModel(folder, folds, checkpoint, sha256, label)


@contextmanager
def _zip_is_named(path: Path, folder: Path) -> Iterator[None]:
    """The scratch folder will be gone when someone reads what is wrong in it: the zip is named instead."""
    try:
        yield
    except UserError as error:
        inside = PurePath(error.subject or folder).relative_to(folder)
        subject = path if inside == PurePath() else f"{path}: {inside}"
        raise UserError(subject, error.cause, error.advice) from None


def _check_unpacked(folder: Path, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Check what the files say, after they were found to be those of the manifest.

    Returns the content of the checkpoint of every fold.
    """
    plans = read_json(folder / PLANS)
    read_json(folder / DATASET)
    check_network_classes(plans, folder / PLANS)
    check_lookups(plans, folder / PLANS)
    contents = {}
    for fold in manifest.folds:
        file = folder / f"fold_{fold}" / manifest.checkpoint
        contents[fold] = load_safely(file, copy=False)
        checkpoint = Checkpoint.checked(contents[fold], file)
        if checkpoint.trainer != STOCK_TRAINER or checkpoint.configuration not in plans["configurations"]:
            raise UserError(file, "is of another trainer or configuration than an exported model")
    return contents
