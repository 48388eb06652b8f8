"""What of a checkpoint prediction needs: weights, and plain words about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..inference.untrusted import load_safely

STOCK_TRAINER = "nnUNetTrainer"
"""Whose name exported checkpoints bear, so that everyone's nnU-Net finds it."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained fold.

    Attributes:
        trainer, configuration: names.
        mirroring: axes that prediction may mirror.
        weights: the network's.
        epochs: that it was trained for, where it tells.
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
            UserError: it cannot be read, or is no checkpoint of nnU-Net.
        """
        content = load_safely(path)
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
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}: not a checkpoint of nnU-Net v2 ({reason})") from None
        names = (made.trainer, made.configuration, *made.weights)
        if not all(isinstance(name, str) for name in names) or not all(
            isinstance(weights, Tensor) for weights in made.weights.values()
        ):
            raise UserError(f"{path}: not a checkpoint of nnU-Net v2 (its weights are no named tensors)")
        return made

    def for_stock(self) -> dict[str, Any]:
        """The content of a checkpoint that nnU-Net's own trainer predicts with, and no more than that."""
        return {
            "network_weights": {name: weights.detach() for name, weights in self.weights.items()},
            "init_args": {"configuration": self.configuration},
            "trainer_name": STOCK_TRAINER,
            "inference_allowed_mirroring_axes": self.mirroring,
        }
