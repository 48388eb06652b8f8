"""The trainer of SpineSegDiff: nnU-Net's stage 1, frozen or trained together with the diffusion refiner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from batchgeneratorsv2.transforms.nnunet.random_binary_operator import ApplyRandomBinaryOperatorTransform
from batchgeneratorsv2.transforms.nnunet.remove_connected_components import (
    RemoveRandomConnectedComponentFromOneHotEncodingTransform,
)
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from ..diffusion.masks import hard_masks
from ..diffusion.settings import SamplerSettings
from ..errors import NotSupportedError, UserError
from ..files import save_json
from ..network.diffusion_network import TrainingOutput
from ..network.two_stage import TwoStageNetwork
from ..stored import KEY
from .corruption import corrupt, draw_damage
from .diffusion_trainer import DiffusionTrainer
from .optimizers import Stage
from .out_of_fold import OutOfFold, find_out_of_fold, heads_of
from .report import as_lines, compare
from .stage1 import find_stage1_checkpoint, load_stage1_weights, model_of, stock_trainer_of

if TYPE_CHECKING:
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

SOURCE = "presegmentations"
"""Key in the plans of a model: the source of its out-of-fold presegmentations."""


class nnUNetTrainerSpineSegDiff(DiffusionTrainer):
    """Stage 1 and the diffusion refiner from presegmentations (paper sections 2.1.2 and A.3).

    Stage 1 comes from a finished stock training of the same dataset, plans, configuration and fold and stays
    frozen (see `stage1`); where there is none, both stages are trained in one run, the refiner on stage 1's
    detached output of the same batch. A frozen stage 1 is spared where its folds' presegmentations have been
    collected (see `out_of_fold`). At prediction the network gives refined logits, or those of the weighted
    mean of both stages (`SamplerSettings.stage1_weight`).
    """

    sampler = SamplerSettings()
    network_class: ClassVar[type[TwoStageNetwork]] = TwoStageNetwork
    corruption_strength: ClassVar[float] = 1.0
    """Scales the damage that training does to presegmentations; 0 trains on clean ones."""
    starts_from_stage1: ClassVar[bool] = True
    """Whether the refiner's weights begin as those of a frozen stage 1, where their features are as wide."""
    clean_share: ClassVar[float] = 0.25
    """Share of the presegmentations that stay as they are."""
    resumed_as_frozen: bool | None = None
    out_of_fold: OutOfFold | None = None
    """Where training takes presegmentations from; None: from stage 1, as it goes."""

    # --- network -----------------------------------------------------------------------------------------

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Stage 1 as planned; denoiser and image encoder from the same plan, scaled by the width suffix."""
        stage1 = nnUNetTrainer.build_network_architecture(
            plans_manager,
            configuration_manager,
            num_input_channels,
            num_output_channels,
            enable_deep_supervision,
        )
        denoiser = cls.build_denoiser(configuration_manager, num_input_channels, num_output_channels)
        return cls.network_class(stage1, denoiser, cls.stored_sampler(plans_manager))

    @classmethod
    def described_network(
        cls, plans_manager: PlansManager, configuration_manager: ConfigurationManager
    ) -> dict[str, Any]:
        """See `DiffusionTrainer`.

        Raises:
            NotSupportedError: the network is of a class that plans have no name for.
        """
        if cls.network_class is not TwoStageNetwork:
            raise NotSupportedError(
                cls.__name__,
                f"its network is a {cls.network_class.__name__}, which nnU-Net's own trainer cannot build",
                "use nnUNetv2_export_model_to_zip",
            )
        return super().described_network(plans_manager, configuration_manager)

    @property
    def two_stage(self) -> TwoStageNetwork:
        """`diffusion_network`, which has two stages here."""
        return cast(TwoStageNetwork, self.diffusion_network)

    # --- set-up ------------------------------------------------------------------------------------------

    def _stages(self) -> dict[str, Stage]:
        """AdamW for the refiner and, where stage 1 is trained too, nnU-Net's SGD for it."""
        self.rng = np.random.default_rng(int(torch.randint(2**31, ())))  # follows torch.manual_seed
        self.frozen_weights: dict[str, Tensor] = {}
        self.stage1_checkpoint: Path | None = None
        self._prepare_stage1()
        stages = super()._stages()
        if not self.two_stage.stage1_frozen:
            sgd = torch.optim.SGD(
                self.two_stage.stage1.parameters(),
                self.initial_lr,
                weight_decay=self.weight_decay,
                momentum=0.99,
                nesterov=True,
            )
            stages["stage1"] = Stage(sgd, PolyLRScheduler(sgd, self.initial_lr, self.num_epochs), 12)
        return stages

    def _denoiser_schedule(self, optimizer: torch.optim.Optimizer, lr: float) -> Any:
        """nnU-Net's, as stage 1's: a refiner has a presegmentation to begin with and needs no warm-up."""
        return PolyLRScheduler(optimizer, lr, self.num_epochs)

    def _prepare_stage1(self) -> None:
        if self.resumed_as_frozen is not None:
            if self.resumed_as_frozen:
                self.two_stage.freeze_stage1()
            how = "frozen" if self.resumed_as_frozen else "trained together with the refiner"
            self.print_to_log_file(
                f"Stage 1: {how}, as in the checkpoint from which this training continues."
            )
            return
        checkpoint = find_stage1_checkpoint(self.plans_manager, self.configuration_name, self.fold)
        if checkpoint is None:
            self.print_to_log_file(
                "Stage 1: trained together with the refiner, on nnU-Net's own loss (no finished stock "
                "training of this dataset, plans, configuration and fold was found or requested)."
            )
            return
        weights = load_stage1_weights(
            checkpoint, self.plans_manager, self.configuration_name, self.fold, self.dataset_json
        )
        try:
            self.two_stage.stage1.load_state_dict(weights)
        except RuntimeError:
            raise UserError(
                checkpoint,
                "rejected as stage 1, its network is not the one that the plans now describe",
                "train stage 1 again with these plans",
            ) from None
        self.frozen_weights, self.stage1_checkpoint = weights, checkpoint
        self.two_stage.freeze_stage1()
        self.print_to_log_file(f"Stage 1: frozen, weights from {checkpoint}.")
        if self.starts_from_stage1 and self.width() == 1:
            self.two_stage.start_from_stage1()
            self.print_to_log_file("Refiner: begins with the weights of stage 1.")

    def on_train_start(self) -> None:
        """Stock; what is frozen is as it was announced: -pretrained_weights are for the refiner only then."""
        super().on_train_start()  # initialises what is not
        if self.frozen_weights:
            self.two_stage.stage1.load_state_dict(self.frozen_weights)
            self.frozen_weights = {}

    # --- presegmentations --------------------------------------------------------------------------------

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Stock; training cases come with their out-of-fold presegmentations where these were collected."""
        if self.two_stage.stage1_frozen:
            self.out_of_fold = self._find_out_of_fold()
        return super().get_dataloaders()

    def _find_out_of_fold(self) -> OutOfFold | None:
        """The collection of this stage 1's folds; of a training that is continued, the one it began with.

        Raises:
            UserError: the collection is stale or incomplete, or the one it began with is gone.
        """
        stored = self.my_init_kwargs["plans"][KEY]  # nnU-Net keeps these in every checkpoint
        if self.resumed_as_frozen is None:
            stored[SOURCE] = self._collection_of_stage1()
        trainer = stored.get(SOURCE)
        found = None
        if trainer:
            plans, preprocessed = self.plans_manager, Path(self.preprocessed_dataset_folder_base)
            model = model_of(trainer, plans, self.configuration_name)
            found = find_out_of_fold(trainer, model, preprocessed, plans, self.configuration_name)
        if trainer and found is None and self.resumed_as_frozen:
            raise UserError(
                preprocessed,
                f"out-of-fold presegmentations of {trainer}, which this training began with, are gone",
                "collect them again with `spinesegdiff presegment`, or train again without --c",
            )
        if found is None:
            stored[SOURCE] = None
        self.print_to_log_file(
            found.announced()
            if found
            else "Presegmentations: from stage 1, which was trained on these cases. `spinesegdiff "
            "presegment` collects out-of-fold presegmentations."
        )
        return found

    def _collection_of_stage1(self) -> str | None:
        """The trainer of stage 1, whose collection is wanted; None of a checkpoint without known folds."""
        if self.stage1_checkpoint is None or self.is_cascaded:
            return None
        arguments = (self.plans_manager, self.configuration_name, self.fold)
        return stock_trainer_of(self.stage1_checkpoint, *arguments)

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Stock; the training cases with the collected label maps, as of the first stage of a cascade.

        Validation does without: it begins with stage 1, as prediction does.
        """
        training, validation = super().get_tr_and_val_datasets()
        if self.out_of_fold is not None:
            training.folder_with_segs_from_previous_stage = str(self.out_of_fold.folder)
        return training, validation

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Stock; those of a cascade, which put the presegmentation behind the image, but for its damages."""
        if self.out_of_fold is None:
            return super().get_training_transforms(*args, **kwargs)
        composed = super().get_training_transforms(*args, **{**kwargs, "is_cascaded": True})
        # `corruption` does that here, and leaves a share of them clean.
        damages = (
            ApplyRandomBinaryOperatorTransform,
            RemoveRandomConnectedComponentFromOneHotEncodingTransform,
        )
        composed.transforms = [
            transform
            for transform in composed.transforms
            if not isinstance(getattr(transform, "transform", None), damages)
        ]
        return composed

    # --- one step ----------------------------------------------------------------------------------------

    def _training_output(self, data: Tensor, target: Tensor, batch: dict) -> TrainingOutput:
        if self.out_of_fold is None:
            return super()._training_output(data, target, batch)
        image = data[:, : self.num_input_channels].contiguous()
        masks = heads_of(data[:, self.num_input_channels :], self.label_manager)
        own = [i for i, case in enumerate(batch["keys"]) if case in self.out_of_fold.never_held_out]
        if own:
            with torch.no_grad():
                masks[own] = hard_masks(self.two_stage.presegment(image[own]), self.label_manager.has_regions)
        return self.network(image, self.make_noised_mask, target, masks)

    def _x_start(self, target: Tensor, stage1_logits: Tensor | None) -> Tensor:
        """Damaged presegmentations (paper A.3); collected ones are masks already, which stay as they are."""
        assert stage1_logits is not None
        regions = self.label_manager.has_regions
        masks = hard_masks(stage1_logits, regions)
        num_foreground = masks.shape[1] - (not regions)
        spacing = self.configuration_manager.spacing

        def draw() -> list:
            return draw_damage(self.rng, num_foreground, spacing, self.corruption_strength, self.clean_share)

        return corrupt(masks, regions, draw)

    def _stage1_loss(self, output: TrainingOutput, target: Tensor | list[Tensor]) -> Tensor | float:
        return 0.0 if self.two_stage.stage1_frozen else self.loss(output.stage1, target)

    # --- the final validation and the checkpoints --------------------------------------------------------

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate stage 1 alone into `stage1/validation`, the refined result into `validation`; compare."""
        self.print_to_log_file("Validation of stage 1 alone:")
        with self._stage1_alone():
            super().perform_actual_validation(save_probabilities)
        weight = self.two_stage.sampler.stage1_weight
        mean = f"mean of both stages (weight of stage 1: {weight:g})" if weight else "refined result"
        self.print_to_log_file(f"Validation of the {mean}:")
        super().perform_actual_validation(save_probabilities)
        if self.local_rank == 0:
            self._report_refinement()

    @contextmanager
    def _stage1_alone(self) -> Iterator[None]:
        output_folder = self.output_folder
        self.output_folder = os.path.join(output_folder, "stage1")
        self.two_stage.refine_predictions = False
        try:
            yield
        finally:
            self.output_folder = output_folder
            self.two_stage.refine_predictions = True

    def _report_refinement(self) -> None:
        folder = Path(self.output_folder)
        stage1, refined = (folder / part / "validation" / "summary.json" for part in ("stage1", "."))
        report = compare(stage1, refined, self.dataset_json["labels"], self.fold)
        report["epoch"] = self.current_epoch
        report["stage1_frozen"] = self.two_stage.stage1_frozen
        report["sampler"] = vars(self.two_stage.sampler)
        save_json(report, folder / "refinement.json")
        for line in as_lines(report):
            self.print_to_log_file(line, add_timestamp=False)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Stock; stage 1 stays frozen, or not, as it was in the training that is continued."""
        checkpoint = filename_or_checkpoint
        if isinstance(checkpoint, str):
            checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)
        self.resumed_as_frozen = "stage1" not in checkpoint["optimizer_state"]
        super().load_checkpoint(filename_or_checkpoint)
