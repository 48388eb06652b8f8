"""The trainer of SpineSegDiff: nnU-Net's stage 1, frozen or trained beside it, and the diffusion refiner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.helpers import dummy_context
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from ..diffusion.forward_process import q_sample
from ..diffusion.masks import encode_masks, hard_masks
from ..diffusion.settings import SamplerSettings
from ..errors import UserError
from ..files import save_json, written_whole
from ..network.denoiser import DenoisingUNet
from ..network.two_stage import TrainingOutput, TwoStageNetwork
from ..stored import stored_in, with_stored
from .corruption import corrupt, draw_damage
from .losses import RefinementLoss
from .optimizers import Stage, StageOptimizers, StageSchedules
from .report import as_lines, compare
from .stage1 import find_stage1_checkpoint, load_stage1_weights
from .suffixed import SuffixedTrainer


class nnUNetTrainerSpineSegDiff(SuffixedTrainer):
    """Stage 1 and the diffusion refiner from presegmentations (paper sections 2.1.2 and A.3).

    Stage 1 comes from a finished stock training of the same dataset, plans, configuration and fold and stays
    frozen (see `stage1`); where there is none, both stages are trained in one run, the refiner on stage 1's
    detached output of the same batch. At prediction the network gives refined logits.
    """

    sampler: ClassVar[SamplerSettings] = SamplerSettings()
    corruption_strength: ClassVar[float] = 1.0
    """Scales the damage that training does to presegmentations; 0 trains on clean ones."""
    clean_share: ClassVar[float] = 0.25
    """Share of the presegmentations that stay as they are."""

    refiner_lr: ClassVar[float | None] = None
    """AdamW's initial rate. None: 1e-4 (paper table 4) in runs of 25,000 iterations or more, else 1e-3."""
    refiner_weight_decay: ClassVar[float] = 1e-2
    refiner_max_grad_norm: ClassVar[float] = 1.0
    resumed_as_frozen: bool | None = None
    loss: Any  # nnU-Net's, for stage 1

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's signature, which it inspects
    ):
        # What the network is trained for travels with the plans that nnU-Net stores with the model.
        plans = with_stored(plans, sampler=vars(self.sampler_settings()))
        super().__init__(plans, configuration, fold, dataset_json, device)

    # --- network -----------------------------------------------------------------------------------------

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
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
        width = (cls.suffixes.width or 100) / 100

        def planned(channels: int) -> nn.Module:
            return get_network_from_plans(
                configuration_manager.network_arch_class_name,
                scale_features(configuration_manager.network_arch_init_kwargs, width),
                configuration_manager.network_arch_init_kwargs_req_import,
                channels,
                num_output_channels,
                allow_init=True,
                deep_supervision=False,
            )

        denoiser = DenoisingUNet(
            planned(num_input_channels + num_output_channels), planned(num_input_channels).encoder
        )
        stored = stored_in(plans_manager.plans).get("sampler")
        return TwoStageNetwork(
            stage1, denoiser, SamplerSettings(**stored) if stored else cls.sampler_settings()
        )

    @classmethod
    def check_suffixes(cls) -> None:
        cls.sampler_settings()

    @classmethod
    def sampler_settings(cls) -> SamplerSettings:
        """The sampler of this trainer: the class's, at the depth that the name states."""
        if cls.suffixes.t_start is None:
            return cls.sampler
        return cls.sampler.changed(t_start=cls.suffixes.t_start)

    @property
    def two_stage(self) -> TwoStageNetwork:
        """The network without what DDP and torch.compile wrap around it."""
        network = self.network.module if isinstance(self.network, DistributedDataParallel) else self.network
        return cast(TwoStageNetwork, network._orig_mod if isinstance(network, OptimizedModule) else network)

    # --- set-up ------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> tuple[StageOptimizers, StageSchedules]:
        """AdamW for the refiner and, where stage 1 is trained too, nnU-Net's SGD for it."""
        # The one hook between building the network and wrapping it in DDP, which must know what is frozen.
        self.rng = np.random.default_rng()
        self.two_stage.heads_are_regions.fill_(self.label_manager.has_regions)
        self.frozen_weights: dict[str, Tensor] = {}
        self._prepare_stage1()
        lr = self.refiner_lr
        if lr is None:
            # Measured: the paper's rate, made for 2500 epochs, learns next to nothing in a few thousand.
            lr = 1e-4 if self.num_epochs * self.num_iterations_per_epoch >= 25_000 else 1e-3
        adamw = torch.optim.AdamW(
            self.two_stage.denoiser.parameters(),
            lr,
            weight_decay=self.refiner_weight_decay,
            # One pass over the weights instead of a dozen: on a CPU a tenth of the whole iteration.
            fused=self.device.type in ("cpu", "cuda"),
        )
        poly = PolyLRScheduler(adamw, lr, self.num_epochs)
        stages = {"refiner": Stage(adamw, poly, self.refiner_max_grad_norm)}
        if not self.two_stage.stage1_frozen:
            sgd = torch.optim.SGD(
                self.two_stage.stage1.parameters(),
                self.initial_lr,
                weight_decay=self.weight_decay,
                momentum=0.99,
                nesterov=True,
            )
            stages["stage1"] = Stage(sgd, PolyLRScheduler(sgd, self.initial_lr, self.num_epochs), 12)
        optimizers = StageOptimizers(stages)
        return optimizers, StageSchedules(optimizers)

    def _prepare_stage1(self) -> None:
        if self.resumed_as_frozen is not None:
            if self.resumed_as_frozen:
                self.two_stage.freeze_stage1()
            how = "frozen" if self.resumed_as_frozen else "trained together with the refiner"
            self.print_to_log_file(
                f"Stage 1: {how}, as the checkpoint that this training continues from has it."
            )
            return
        checkpoint = find_stage1_checkpoint(self.plans_manager, self.configuration_name, self.fold)
        if checkpoint is None:
            self.print_to_log_file(
                "Stage 1: trained together with the refiner, on nnU-Net's own loss (no finished stock "
                "training of this dataset, plans, configuration and fold was found or wanted)."
            )
            return
        weights = load_stage1_weights(
            checkpoint, self.plans_manager, self.configuration_name, self.fold, self.dataset_json
        )
        try:
            self.two_stage.stage1.load_state_dict(weights)
        except RuntimeError:
            raise UserError(
                f"{checkpoint}: refused as stage 1, its network is not the one that the plans now describe; "
                "train stage 1 again with these plans"
            ) from None
        self.frozen_weights = weights
        self.two_stage.freeze_stage1()
        self.print_to_log_file(f"Stage 1: frozen, weights from {checkpoint}.")

    def on_train_start(self) -> None:
        """Stock; what is frozen is as it was announced: -pretrained_weights are for the refiner only then."""
        super().on_train_start()  # initialises what is not
        if self.frozen_weights:
            self.two_stage.stage1.load_state_dict(self.frozen_weights)
            self.frozen_weights = {}
        self.two_stage.heads_are_regions.fill_(self.label_manager.has_regions)

    def _build_loss(self) -> nn.Module:
        """nnU-Net's loss for stage 1; its full-resolution part serves the refiner's loss too."""
        loss = super()._build_loss()
        self.refiner_loss = RefinementLoss(
            getattr(loss, "loss", loss), self.label_manager.has_regions, self.label_manager.ignore_label
        )
        return loss

    # --- one step ----------------------------------------------------------------------------------------

    @torch.compiler.disable
    def make_noised_mask(self, stage1_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Damage the presegmentations, draw t uniformly from 1..T and noise them to it (paper A.3)."""
        regions = self.label_manager.has_regions
        masks = hard_masks(stage1_logits, regions)
        num_foreground = masks.shape[1] - (not regions)
        spacing = self.configuration_manager.spacing
        masks = corrupt(
            masks,
            regions,
            lambda: draw_damage(
                self.rng, num_foreground, spacing, self.corruption_strength, self.clean_share
            ),
        )
        t = torch.randint(1, self.two_stage.sampler.t_start + 1, (masks.shape[0],), device=masks.device)
        return q_sample(encode_masks(masks), t, torch.randn_like(masks), self.two_stage.alphas_cumprod), t

    def train_step(self, batch: dict) -> dict:
        data = batch["data"].to(self.device, non_blocking=True)
        target = _to_device(batch["target"], self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type) if self.device.type == "cuda" else dummy_context():
            output: TrainingOutput = self.network(data, self.make_noised_mask)
            refiner_loss = self._refiner_loss(output.refined, target)
            frozen = self.two_stage.stage1_frozen
            loss = refiner_loss if frozen else refiner_loss + self.loss(output.stage1, target)
        (loss if self.grad_scaler is None else self.grad_scaler.scale(loss)).backward()
        self.optimizer.step(self.grad_scaler)
        return {"loss": refiner_loss.detach().cpu().numpy()}

    def validation_step(self, batch: dict) -> dict:
        """Stock, on the refined output after a single denoising step: this runs fifty times an epoch.

        Both curves of progress.png are the refiner's loss, stage 1's is in neither.
        """
        trained, stage1_loss = self.two_stage.sampler, self.loss
        self.two_stage.configure_sampler(num_samples=1, ddim_steps=1, fusion_steps=1)
        self.loss = self._refiner_loss
        try:
            return super().validation_step(batch)
        finally:
            self.two_stage.configure_sampler(trained)
            self.loss = stage1_loss

    def _refiner_loss(self, output: Tensor | list[Tensor], target: Tensor | list[Tensor]) -> Tensor:
        return self.refiner_loss(_full_resolution(output), _full_resolution(target))

    # --- the final validation and the checkpoints --------------------------------------------------------

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate stage 1 alone into `stage1/validation`, the refined result into `validation`; compare."""
        self.print_to_log_file("Validation of stage 1 alone:")
        with self._stage1_alone():
            super().perform_actual_validation(save_probabilities)
        self.print_to_log_file("Validation of the refined result:")
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

    def save_checkpoint(self, filename: str) -> None:
        """Stock, but the file appears under its name only when it is whole."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return super().save_checkpoint(filename)
        with written_whole(filename) as temporary:
            super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Stock; stage 1 stays frozen, or not, as it was in the training that is continued."""
        checkpoint = filename_or_checkpoint
        if isinstance(checkpoint, str):
            checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)
        self.resumed_as_frozen = "stage1" not in checkpoint["optimizer_state"]
        super().load_checkpoint(filename_or_checkpoint)


def scale_features(architecture_kwargs: dict[str, Any], width: float) -> dict[str, Any]:
    """The planned kwargs with every number of features scaled by `width`, at least 4 each."""

    def scaled(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [scaled(v) for v in value]
        return None if value is None else max(4, round(value * width))

    kinds = ("features_per_stage", "stem_channels", "bottleneck_channels")
    return {**architecture_kwargs, **{k: scaled(v) for k, v in architecture_kwargs.items() if k in kinds}}


def _to_device(target: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    if isinstance(target, list):
        return [t.to(device, non_blocking=True) for t in target]
    return target.to(device, non_blocking=True)


def _full_resolution(x: Tensor | list[Tensor]) -> Tensor:
    return x[0] if isinstance(x, list) else x
