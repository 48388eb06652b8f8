"""A folder of nnU-Net's results that holds a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..inference.untrusted import read_json
from ..network.from_plans import is_described
from .manifest import DATASET, FINAL, PLANS

RESULTS = "a results folder (.../Dataset501_NAME/TRAINER__PLANS__2d)"
ZIP_TOO = f"{RESULTS} or the zip of `spinesegdiff export`"


def model_to_export(path: Path) -> Path:
    """The model's folder, as `trained_model` finds it.

    Raises:
        UserError: there is none, there are several, or `path` is a file.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        raise UserError(
            path,
            "is already a zip, share it as it is",
            "to export it again, install it with nnUNetv2_install_pretrained_model_from_zip and give its "
            "folder",
        )
    if path.is_file():
        raise UserError(path, "is a file", f"give {RESULTS}")
    if not path.is_dir():
        raise UserError(path, "no such folder", f"train the model first{_trained_beside(path)}")
    return trained_model(path, wanted=RESULTS)


def trained_model(path: Path, wanted: str = ZIP_TOO) -> Path:
    """The model's folder: `path`, or the only one with a checkpoint in the dataset's folder that `path` is.

    Args:
        wanted: what to ask for where there is none.

    Raises:
        UserError: there is none, or there are several.
    """
    if _has_plans(path):
        return path
    models = _trained_in(path)
    if len(models) == 1:
        return models[0]
    if models:
        names = ", ".join(model.name for model in models)
        raise UserError(path, f"holds {len(models)} trained models, name the folder of one: {names}")
    raise UserError(path, "there is no trained model", f"give {wanted}")


def trained_folds(model: Path, checkpoint: str, wanted: Sequence[str] | None = None) -> list[str]:
    """The wanted folds, each once and in order, or all that have the checkpoint ("all" where no other has).

    Raises:
        UserError: a wanted fold, or every one, has no such checkpoint.
    """
    if wanted is None:
        found = {file.parent.name.removeprefix("fold_") for file in model.glob(f"fold_*/{checkpoint}")}
        numbered = sorted((fold for fold in found if fold.isdigit()), key=int)
        if not numbered and "all" not in found:
            others = sorted({file.name for file in model.glob("fold_*/*.pth")})
            told = f"name another one: {', '.join(others)}" if others else "train it to the end first"
            told += "" if others else _trained_beside(model)
            raise UserError(model, f"no fold has a {checkpoint}", told)
        return numbered or ["all"]
    folds = sorted(set(map(str, wanted)), key=lambda fold: (not fold.isdigit(), fold.zfill(9)))
    for fold in folds:
        file = model / f"fold_{fold}" / checkpoint
        if not file.is_file():
            raise UserError(file, "no such checkpoint", "name the trained folds")
    if not folds:
        raise UserError(model, "no fold was named")
    return folds


def checkpoint_name(model: Path, wanted: str | None) -> str:
    """The wanted checkpoint's name; without one the final's, or the only one that an exported model has."""
    if wanted is not None or any(model.glob(f"fold_*/{FINAL}")):
        return wanted or FINAL
    names = {file.name for file in model.glob("fold_*/*.pth")}
    return names.pop() if len(names) == 1 and is_exported(model) else FINAL


def is_exported(model: Path) -> bool:
    """Whether the folder was installed from an exported zip; a manifest alone may be left from one."""
    configurations = read_json(model / PLANS).get("configurations", {})
    return all(is_described(c.get("architecture", {})) for c in configurations.values())


def _trained_in(dataset: Path) -> list[Path]:
    """The models with a checkpoint, of any trainer, in a dataset's folder."""
    folders = {file.parents[1] for file in dataset.glob("*/fold_*/*.pth")}
    return sorted(folder for folder in folders if _has_plans(folder))


def _trained_beside(model: Path) -> str:
    """Trained models that could be meant instead."""
    names = ", ".join(other.name for other in _trained_in(model.parent))
    return f", or name one that is trained: {names}" if names else ""


def _has_plans(folder: Path) -> bool:
    return (folder / PLANS).is_file() and (folder / DATASET).is_file()
