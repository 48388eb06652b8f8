"""Parts of a checkpoint that prediction needs: weights and a description."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..inference.untrusted import load_safely
from ..text import reason_of

STOCK_TRAINER = "nnUNetTrainer"
"""Whose name exported checkpoints bear, so that everyone's nnU-Net finds it."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained fold.

    Attributes:
        trainer, configuration: names.
        mirroring: axes that prediction may mirror.
        weights: the network's.
        epochs: that it was trained for, if known.
    """

    trainer: str
    configuration: str
    mirroring: tuple[int, ...] | None
    weights: dict[str, Tensor]
    epochs: int | None

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Nothing is unpickled.

        Raises:
            UserError: it cannot be read, or is not a checkpoint of nnU-Net.
        """
        return cls.checked(load_safely(path), path)

    @classmethod
    def checked(cls, content: dict[str, Any], path: Path) -> Checkpoint:
        """Check the content that `load_safely` read from `path`.

        Raises:
            UserError: it is not a checkpoint of nnU-Net, or has NaN or infinite weights.
        """
        try:
            mirroring = content.get("inference_allowed_mirroring_axes")
            epochs = content.get("current_epoch")
            made = cls(
                content["trainer_name"],
                content["init_args"]["configuration"],
                None if mirroring is None else tuple(map(int, mirroring)),
                dict(content["network_weights"]),
                None if epochs is None else int(epochs),
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = reason_of(error, with_type=True)
            raise UserError(path, f"not a checkpoint of nnU-Net v2 ({reason})") from None
        names = (made.trainer, made.configuration, *made.weights)
        if not all(isinstance(name, str) for name in names) or not all(
            isinstance(weights, Tensor) for weights in made.weights.values()
        ):
            raise UserError(path, "not a checkpoint of nnU-Net v2 (its weights are not named tensors)")
        if not all(bool(torch.isfinite(weights).all()) for weights in made.weights.values()):
            raise UserError(path, "its weights are not finite: the training diverged", "train it again")
        return made

    @property
    def dtype(self) -> str:
        """The widest floating point type among the weights, for example "float32"."""
        kinds = {weights.dtype for weights in self.weights.values() if weights.is_floating_point()}
        return str(max(kinds, key=lambda kind: kind.itemsize)).removeprefix("torch.")

    def halved(self, path: Path) -> Checkpoint:
        """Convert floating point weights to float16; tensors that share their memory still do.

        Args:
            path: of the checkpoint, for the error.

        Raises:
            UserError: a weight is too large for float16.
        """
        made: dict[tuple[Any, ...], Tensor] = {}
        return replace(
            self, weights={name: _half(weights, made, name, path) for name, weights in self.weights.items()}
        )

    def for_stock(self) -> dict[str, Any]:
        """The content of a checkpoint that nnU-Net's own trainer predicts with, and no more than that."""
        return {
            "network_weights": {name: weights.detach() for name, weights in self.weights.items()},
            "init_args": {"configuration": self.configuration},
            "trainer_name": STOCK_TRAINER,
            "inference_allowed_mirroring_axes": self.mirroring,
        }


def _half(weights: Tensor, made: dict[tuple[Any, ...], Tensor], name: str, path: Path) -> Tensor:
    if not weights.is_floating_point():
        return weights
    # nnU-Net's blocks have the same parameter under two names.
    place = (weights.data_ptr(), weights.dtype, weights.shape, weights.stride())
    if place not in made:
        made[place] = weights.half()
        if made[place].isinf().any():
            largest = torch.finfo(torch.float16).max
            raise UserError(
                path, f"{name} has values beyond {largest:g}, the largest of float16", "export without --half"
            )
    return made[place]
