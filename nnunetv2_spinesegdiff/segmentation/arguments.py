"""Checks of the Python arguments that correspond to command options."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch

from ..errors import UserError
from ..preflight import check_device
from ..sharing.bundled import DEFAULT, model_path
from .settings import Slices

DEVICES = ("cpu", "cuda", "mps")


def path_of(model: str | os.PathLike[str] | None) -> Path:
    """Return the path of a model, or of the default model.

    Raises:
        UserError: it is neither the name of a bundled model nor a path.
    """
    if model is None:
        return model_path(DEFAULT)
    if not isinstance(model, str | os.PathLike):
        raise UserError(
            f"model {model!r}",
            "give the name of a bundled model, or the path of an exported zip or of a trained model's folder",
        )
    return model_path(model)


def no_scan(given: object) -> str:
    """Message for an argument that is neither a path nor an image."""
    return (
        f"a scan is given as its path or as a SimpleITK image, not as {type(given).__name__}; "
        "an array does not state the positions of its voxels"
    )


def slices_of(slices: str | SupportsIndex) -> Slices:
    """A number as `int`; whether there are such slices is asked elsewhere."""
    number = _whole(slices)
    return slices if number is None else number  # type: ignore[return-value]


def series_of(series: str | SupportsIndex | None) -> str | None:
    """A number, UID or description, as text.

    Raises:
        UserError: it is none of these.
    """
    if series is None:
        return None
    if (text := _text(series)) is None:
        raise UserError(f"series {series!r}", "choose its number, UID or description")
    return text


def folds_of(folds: str | SupportsIndex | Iterable[str | SupportsIndex] | None) -> list[str] | None:
    """One fold or several, as text.

    Raises:
        UserError: one is neither a number nor text.
    """
    if folds is None:
        return None
    several = _text(folds) is None and isinstance(folds, Iterable)
    names = [_text(fold) for fold in (folds if several else [folds])]  # type: ignore[union-attr]
    known = [name for name in names if name is not None]
    if len(known) < len(names):
        raise UserError(f"folds {folds!r}", "choose numbers of folds, such as 0 or [0, 1], or all")
    return known


def device_of(wanted: str | torch.device | None) -> torch.device:
    """The device, without `wanted` a CUDA device if there is one, else the CPU.

    Raises:
        UserError: it is not there, or none that models run on.
    """
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in DEVICES:
        raise UserError(None, f"there is no device {str(wanted)!r}", "choose cpu, cuda or mps")
    check_device(device.type)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(None, f"there is no {device}", f"{torch.cuda.device_count()} CUDA devices were found")
    return device


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    number = _whole(value)
    return None if number is None else str(number)


def _whole(value: Any) -> int | None:
    """A whole number of any library, but no True or False."""
    try:
        return None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        return None
