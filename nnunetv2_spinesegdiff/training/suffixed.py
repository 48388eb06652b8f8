"""nnU-Net's trainer with a length that its name may state."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from ..errors import UserError
from ..stored import check_sagittal
from ..text import listed
from .names import Suffixes


class SuffixedTrainer(nnUNetTrainer):
    """The stock trainer whose length its name may state; see `names`."""

    suffixes: ClassVar[Suffixes] = Suffixes()
    default_epochs: ClassVar[int | None] = None
    """Epochs where the name states none; None: nnU-Net's 1000."""
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int
    output_folder: str
    folder_with_segs_from_previous_stage: str

    @classmethod
    def check_suffixes(cls) -> None:
        """Raises ValueError where a value that the name states is impossible for this trainer."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature, which it inspects
    ):
        check_sagittal(plans, configuration)
        super().__init__(plans, configuration, fold, dataset_json, device)
        epochs = self.suffixes.epochs or self.default_epochs
        if epochs is not None:
            self.num_epochs = epochs
        if self.suffixes.iters is not None:
            stock_share = self.num_val_iterations_per_epoch / self.num_iterations_per_epoch
            self.num_iterations_per_epoch = self.suffixes.iters
            self.num_val_iterations_per_epoch = max(1, round(stock_share * self.suffixes.iters))

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Stock.

        Raises:
            UserError: of a cascade, the first stage has not segmented all cases.
        """
        datasets = super().get_tr_and_val_datasets()
        if self.is_cascaded:
            folder = Path(self.folder_with_segs_from_previous_stage)
            found = {path.stem for path in folder.glob("*")}
            if missing := sorted({case for data in datasets for case in data.identifiers} - found):
                first = self.configuration_manager.previous_stage_name
                advice = f"train all folds of {first} with this trainer first"
                raise UserError(folder, f"no segmentation of {listed(missing, 5)}", advice)
        return datasets

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Stock; ends a training that diverged, before nnU-Net saves its weights.

        Raises:
            UserError: a weight is NaN or infinite.
        """
        super().on_train_epoch_end(train_outputs)
        if not all(bool(torch.isfinite(weights).all()) for weights in self.network.parameters()):
            raise UserError(
                self.output_folder,
                f"the training diverged in epoch {self.current_epoch}, its weights are not finite",
                "look for NaN and extreme values in the images, then go on from the last checkpoint with --c",
            )


class nnUNetTrainerStage1(SuffixedTrainer):
    """nnU-Net's own trainer with our suffixes, for baselines of the same length.

    The suffixes of depth, steps, chains and width are accepted, so that one list of suffixes serves every row
    of a table; they describe a diffusion network, and this trainer has none.
    """
