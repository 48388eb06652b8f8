"""A trained model becomes a zip that nnU-Net installs, and predicts with by its own trainer."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from .. import __version__
from ..errors import UserError, writing
from ..files import written_whole
from ..inference.untrusted import check_network_classes, read_json
from ..stored import stored_in
from .card import model_card
from .checkpoints import STOCK_TRAINER, Checkpoint
from .for_stock import plans_for_stock, stock_network
from .history import history_of
from .manifest import CARD, DATASET, FINAL, MANIFEST, PLANS, Manifest
from .packing import Packer
from .private import public_part
from .trained_folder import model_to_export, trained_folds
from .unpacking import is_export

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("nnunetv2", "dynamic-network-architectures", "torch", "numpy")


@dataclass(frozen=True)
class Source:
    """A model as it is exported.

    Attributes:
        model: results folder.
        plans, dataset: contents of the zip's plans.json and dataset.json.
        left_out: what else the model's own files held.
        trainer: that the model's checkpoints name.
        configuration: that they are of.
    """

    model: Path
    plans: dict[str, Any]
    dataset: dict[str, Any]
    left_out: list[str]
    trainer: str
    configuration: str


def export_model(
    model: Path,
    out: Path,
    *,
    folds: Sequence[str] | None = None,
    checkpoint: str = FINAL,
    details: Mapping[str, str] | None = None,
    half: bool = False,
    force: bool = False,
) -> Path:
    """Pack a trained diffusion model for people who only predict.

    `nnUNetv2_install_pretrained_model_from_zip` puts the zip in place, under the name of the model's trainer.
    Its plans name our network and its checkpoints nnU-Net's own trainer, so that plain `nnUNetv2_predict`
    gives the masks that the model gives here, wherever this package is installed. Checkpoints hold weights
    and plain values; no file holds a path, user or host of this machine. The same model gives the same bytes
    with the same versions of packages. An installed zip can be exported again; its weights stay in float16 if
    they are.

    Args:
        model: results folder, `.../Dataset501_SPIDER/nnUNetTrainerSpineSegDiff__nnUNetPlans__2d`, or the
            folder of its dataset if that holds no other.
        out: name of the zip, which appears when it is whole.
        folds: None takes all that have the checkpoint, "all" only where no other has.
        checkpoint: file name in the folds' folders; it keeps its name.
        half: store floating point weights as float16, in half of the space. Prediction converts them back and
            computes in float32; logits differ by the rounding of the weights.
        details: what only a person can state, for the model card: `license` of the model, `authors`,
            `contact`, and `notes` in Markdown.
        force: replace whatever file has that name; without it only a zip of an export is replaced.

    Returns:
        `out`.

    Raises:
        UserError: the model does not exist, it is not a SpineSegDiff network, its JSON files name this
            machine in a place that prediction cannot do without, a weight is too large for float16, the zip
            cannot be written, or another file has its name.
    """
    _check_target(out, force)
    model = model_to_export(model)
    folds = trained_folds(model, checkpoint, folds)
    first = Checkpoint.read(model / f"fold_{folds[0]}" / checkpoint)
    source = _read(model, first)
    manifest = _manifest(source, folds, checkpoint, details or {})
    with _writing(out), _folder_for(out), written_whole(out) as temporary, ZipFile(temporary, "w") as archive:
        _pack(source, manifest, Packer(archive, manifest.folder), half)
    for name in source.left_out:
        print(f"Left out: {name}")
    return out


def _check_target(out: Path, force: bool) -> None:
    with _writing(out):
        folder = out.is_dir()
    if out.suffix.lower() != ".zip" or folder:
        raise UserError(out, "not the name of a zip", "give one that ends in .zip")
    if not force and out.exists() and not is_export(out):
        cause = "already exists and is not a complete zip of `spinesegdiff export`"
        raise UserError(out, cause, "choose another with -o, or replace it with --force")


def _writing(out: Path) -> AbstractContextManager[None]:
    return writing(out, "make room, or choose another with -o")


@contextmanager
def _folder_for(out: Path) -> Iterator[None]:
    """Folders that are made for a zip go again where there will be none."""
    missing = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise


def _read(model: Path, first: Checkpoint) -> Source:
    plans, dataset = (read_json(model / name) for name in (PLANS, DATASET))
    check_network_classes(plans, model / PLANS)
    plans = plans_for_stock(plans, first, model)
    plans, of_plans = public_part(plans, model / PLANS)
    dataset, of_dataset = public_part(dataset, model / DATASET)
    left_out = [f"{PLANS}: {key}" for key in of_plans] + [f"{DATASET}: {key}" for key in of_dataset]
    return Source(model, plans, dataset, left_out, first.trainer, first.configuration)


def _manifest(source: Source, folds: list[str], checkpoint: str, details: Mapping[str, str]) -> Manifest:
    """All but history and files, which come from the folds; of an exported model, what was stated then."""
    earlier = _earlier(source)
    architecture = source.plans["configurations"][source.configuration]["architecture"]
    made = Manifest(
        dataset=source.plans["dataset_name"],
        trainer=stored_in(source.plans)["trainer"],
        plans=source.plans["plans_name"],
        configuration=source.configuration,
        folds=folds,
        checkpoint=checkpoint,
        network_class=architecture["network_class_name"],
        training={fold: earlier.training.get(fold, {}) for fold in folds} if earlier else {},
        details=(earlier.details if earlier else {}) | {name: text for name, text in details.items() if text},
        left_out=[*(earlier.left_out if earlier else []), *source.left_out],
        versions=_versions(),
    )
    made.check_names(str(source.model))
    return made


def _earlier(source: Source) -> Manifest | None:
    path = source.model / MANIFEST
    if source.trainer != STOCK_TRAINER or not path.is_file():
        return None
    return Manifest.from_text(path.read_bytes(), str(path))


def _versions() -> dict[str, str]:
    ours = {"nnunetv2_spinesegdiff": __version__}
    return {**ours, **{name: version(name) for name in PACKAGES}, "python": platform.python_version()}


def _pack(source: Source, manifest: Manifest, packer: Packer, half: bool) -> None:
    """Fold by fold: only one is in memory."""
    network = stock_network(source.plans, manifest.configuration, source.dataset)
    history = dict(manifest.training)
    for fold in manifest.folds:
        path = source.model / f"fold_{fold}" / manifest.checkpoint
        checkpoint = Checkpoint.read(path)
        _check_fitting(checkpoint, source, network, path)
        checkpoint = checkpoint.halved(path) if half else checkpoint
        name = f"fold_{fold}/{manifest.checkpoint}"
        packer.add_checkpoint(name, checkpoint.for_stock(), checkpoint.dtype)
        if fold not in history:
            history[fold] = history_of(
                source.model,
                fold,
                manifest.checkpoint,
                checkpoint.epochs,
                manifest.dataset,
                source.dataset["labels"],
            )
    manifest = replace(manifest, training=history, files=packer.files)
    packer.add_text(PLANS, json.dumps(source.plans, indent=2) + "\n")
    packer.add_text(DATASET, json.dumps(source.dataset, indent=2) + "\n")
    packer.add_text(CARD, model_card(manifest, source.plans, source.dataset))
    manifest = replace(manifest, files=dict(sorted(packer.files.items())))
    packer.add_text(MANIFEST, manifest.as_text())


def _check_fitting(checkpoint: Checkpoint, source: Source, network: nn.Module, path: Path) -> None:
    """Every fold is of one training, and nnU-Net's own trainer builds the network of these weights."""
    for what, found, wanted in (
        ("trainer", checkpoint.trainer, source.trainer),
        ("configuration", checkpoint.configuration, source.configuration),
    ):
        if found != wanted:
            raise UserError(path, f"is of {what} {found}, the first fold of {wanted}", "export them apart")
    try:
        network.load_state_dict(checkpoint.weights)
    except RuntimeError:
        raise UserError(
            path,
            f"these weights are not of the network that {source.trainer} and the plans describe",
            "train again with these plans",
        ) from None
