"""Models of unknown origin: checkpoints are read without unpickling, plans may name known classes only."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from ..network.from_plans import check_architecture


def load_safely(checkpoint_file: Path, *, copy: bool = True) -> dict[str, Any]:
    """What a checkpoint of nnU-Net holds: tensors, plain values and numpy numbers; nothing else is unpickled.

    The optimizer's tensors, two thirds of the file of a finished training, are read only when they are used.

    Args:
        copy: whether the weights are in memory; if not, the file must not change while they are in use.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            checkpoint = torch.load(checkpoint_file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        # torch's own message recommends to read the file without these precautions.
        reason = "it is damaged, or holds more than tensors and plain values"
        raise UserError(checkpoint_file, f"cannot be read as a checkpoint ({reason})") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(checkpoint_file, f"cannot be read as a checkpoint ({reason})") from None
    if not isinstance(checkpoint, dict):
        raise UserError(checkpoint_file, f"not a checkpoint of nnU-Net v2 (a {type(checkpoint).__name__})")
    if not copy:
        return checkpoint
    # Not the weights: who shortens a file that is in use, as installing over it does, would end this process.
    # A deep copy, unlike one of every tensor, keeps together what nnU-Net's blocks have under two names.
    weights = {name: deepcopy(v) for name, v in checkpoint.items() if name == "network_weights"}
    return {**checkpoint, **weights}


def _numpy_numbers() -> list[Any]:
    """The types in which nnU-Net's log keeps its numbers."""
    kinds = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)}
    scalar = np.float64(0).__reduce__()[0]
    # numpy 2 moved it: a checkpoint calls it as the numpy called it that wrote the checkpoint.
    scalars: list[Any] = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*scalars, np.dtype, *kinds]


def check_network_classes(plans: Mapping[str, Any], plans_file: Path) -> None:
    """Whether nnU-Net will import nothing but known classes by the names in `plans`.

    Raises:
        UserError: plans name another class, or describe no network.
    """
    try:
        for configuration in plans["configurations"].values():
            if not isinstance(configuration, Mapping):
                raise TypeError("configuration")
            # Without one it inherits another's, or is of an older version, which had no names of classes.
            if "architecture" in configuration:
                check_architecture(configuration["architecture"])
    except ValueError as error:
        raise UserError(
            plans_file, f"{error}", "a model that you trust can be predicted without SpineSegDiff options"
        ) from None
    except (KeyError, TypeError, AttributeError):
        raise UserError(plans_file, "these are not plans of nnU-Net v2") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        UserError: it is not there, or holds no such object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(path, "no such file", "a trained model has one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(path, f"cannot be read ({type(error).__name__}), is it damaged?") from None
    if not isinstance(content, dict):
        raise UserError(path, f"holds a {type(content).__name__} where an object is expected")
    return content
