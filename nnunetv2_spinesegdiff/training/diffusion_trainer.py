"""What all diffusion trainers share: network, noising, loss, optimizer and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.helpers import dummy_context
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from ..diffusion.compiling import compiler_in_use, not_compiled
from ..diffusion.forward_process import q_sample
from ..diffusion.masks import encode_masks, one_hot_channels
from ..diffusion.settings import SamplerSettings
from ..errors import NotSupportedError
from ..files import written_whole
from ..network.denoiser import DenoisingUNet
from ..network.diffusion_network import DiffusionNetwork, TrainingOutput, full_resolution
from ..network.from_plans import described
from ..network.planned import denoiser_of, scale_features
from ..stored import stored_in, with_stored
from .losses import RefinementLoss
from .optimizers import Stage, StageOptimizers, StageSchedules, WarmUpAndCosine
from .suffixed import SuffixedTrainer

if TYPE_CHECKING:
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

compiler_in_use()  # nnU-Net compiles what is trained on CUDA

MANY_EVALUATIONS = 1000
"""Of the network for one patch: minutes on a GPU."""


class DiffusionTrainer(SuffixedTrainer):
    """A denoising network on noised ground truth that segments from nothing but noise.

    The systems of the paper differ in what a subclass states here: schedule, start, prediction target and
    fusion in `sampler`, and the image encoder. Optimizer and rate are the same in tables 4, 7 and 8.
    """

    sampler: ClassVar[SamplerSettings]
    """How the trained network is sampled; schedule, depth and prediction type also decide the training."""
    image_encoder: ClassVar[bool] = True
    """Whether a second encoder sees the image alone."""
    validation_ddim_steps: ClassVar[int] = 1
    """Of the validation during training, fifty batches per epoch."""

    denoiser_lr: ClassVar[float | None] = None
    """AdamW's initial rate. None: 1e-4 (tables 4, 7, 8) in runs of at least 25,000 iterations, else 1e-3."""
    denoiser_weight_decay: ClassVar[float] = 1e-2
    denoiser_max_grad_norm: ClassVar[float] = 1.0
    loss: Any

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
        if self.sampler.start == "noise" and self.label_manager.has_ignore_label:
            raise NotSupportedError(
                type(self).__name__,
                "trains on noised ground truth, which pixels with the ignore label do not have",
                "train nnUNetTrainerSpineSegDiff, which starts from presegmentations",
            )

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
        """Denoiser and image encoder from the plan, scaled by the width suffix."""
        return DiffusionNetwork(
            cls.build_denoiser(configuration_manager, num_input_channels, num_output_channels),
            cls.stored_sampler(plans_manager),
        )

    @classmethod
    def build_denoiser(
        cls, configuration_manager: ConfigurationManager, num_input_channels: int, num_output_channels: int
    ) -> DenoisingUNet:
        def planned(channels: int) -> nn.Module:
            return get_network_from_plans(
                configuration_manager.network_arch_class_name,
                scale_features(configuration_manager.network_arch_init_kwargs, cls.width()),
                configuration_manager.network_arch_init_kwargs_req_import,
                channels,
                num_output_channels,
                allow_init=True,
                deep_supervision=False,
            )

        return denoiser_of(planned, num_input_channels, num_output_channels, cls.image_encoder)

    @classmethod
    def described_network(
        cls, plans_manager: PlansManager, configuration_manager: ConfigurationManager
    ) -> dict[str, Any]:
        """`architecture` of plans from which nnU-Net's own trainer builds the network of this one."""
        return described(
            configuration_manager.configuration["architecture"],
            two_stage=cls.sampler.start == "presegmentation",
            width=cls.width(),
            image_encoder=cls.image_encoder,
            sampler=cls.stored_sampler(plans_manager),
        )

    @classmethod
    def width(cls) -> float:
        """Features of denoiser and image encoder, a share of the planned ones."""
        return (cls.suffixes.width or 100) / 100

    @classmethod
    def stored_sampler(cls, plans_manager: PlansManager) -> SamplerSettings:
        """Return the sampler stored in a model's plans, or this trainer's for a new model."""
        stored = stored_in(plans_manager.plans).get("sampler")
        return SamplerSettings(**stored) if stored else cls.sampler_settings()

    @classmethod
    def check_suffixes(cls) -> None:
        cls.sampler_settings()

    @classmethod
    def sampler_settings(cls) -> SamplerSettings:
        """The sampler of this trainer: the class's, with the schedule, steps and chains that the name states.

        A length N without a depth is a complete schedule, T = N, as in the published code of the paper. Where
        chains start from noise, a depth without a length is the length of the whole schedule.
        """
        names = ("t_start", "ddim_steps", "num_samples")
        stated = {name: value for name in names if (value := getattr(cls.suffixes, name)) is not None}
        if (length := cls.suffixes.schedule_length) is not None:
            stated = {"t_start": length, **stated, "num_train_timesteps": length}
        elif "t_start" in stated and cls.sampler.start == "noise":
            stated["num_train_timesteps"] = stated["t_start"]
        return cls.sampler.changed(**stated)

    @property
    def diffusion_network(self) -> DiffusionNetwork:
        """The network without what DDP and torch.compile wrap around it."""
        network = self.network.module if isinstance(self.network, DistributedDataParallel) else self.network
        return cast(DiffusionNetwork, network._orig_mod if isinstance(network, OptimizedModule) else network)

    # --- set-up ------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> tuple[StageOptimizers, StageSchedules]:
        """AdamW for the denoiser, and whatever `_stages` adds."""
        # The one hook between building the network and wrapping it in DDP, which must know what is frozen.
        self.diffusion_network.heads_are_regions.fill_(self.label_manager.has_regions)
        # It is the same on all ranks. DDP would broadcast it in forwards, which a rank without a case to
        # validate never makes: the others would wait for it.
        self.network._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.network.named_buffers() if name.endswith("heads_are_regions")
        ]
        optimizers = StageOptimizers(self._stages())
        return optimizers, StageSchedules(optimizers)

    def _stages(self) -> dict[str, Stage]:
        lr = self.denoiser_lr
        if lr is None:
            # Measured: the paper's rate, made for 2500 epochs, learns next to nothing in a few thousand.
            lr = 1e-4 if self.num_epochs * self.num_iterations_per_epoch >= 25_000 else 1e-3
        adamw = torch.optim.AdamW(
            self.diffusion_network.denoiser.parameters(),
            lr,
            weight_decay=self.denoiser_weight_decay,
            # One pass over the weights instead of a dozen: on a CPU a tenth of the whole iteration.
            fused=self.device.type in ("cpu", "cuda"),
        )
        return {"denoiser": Stage(adamw, self._denoiser_schedule(adamw, lr), self.denoiser_max_grad_norm)}

    def _denoiser_schedule(self, optimizer: torch.optim.Optimizer, lr: float) -> Any:
        return WarmUpAndCosine(optimizer, lr, self.num_epochs)

    def on_train_start(self) -> None:
        super().on_train_start()  # initialises what is not
        # -pretrained_weights brings the buffer of another dataset.
        self.diffusion_network.heads_are_regions.fill_(self.label_manager.has_regions)
        self._announce_validation()

    def _announce_validation(self) -> None:
        """Write a warning about the cost of the final validation to the log."""
        sampler = self.diffusion_network.sampler
        copies = 2 ** len(self.inference_allowed_mirroring_axes or ())
        evaluations = sampler.num_samples * sampler.ddim_steps * copies
        if evaluations >= MANY_EVALUATIONS:
            self.print_to_log_file(
                f"The final validation will call the network {evaluations} times per patch ({copies} "
                f"mirrored copies, {sampler.num_samples} chains, {sampler.ddim_steps} steps). Names with "
                "_n<steps> or _S<chains>, such as _n50, reduce this."
            )

    def _build_loss(self) -> nn.Module:
        """nnU-Net's loss; its full-resolution part serves the denoiser's loss."""
        loss = super()._build_loss()
        self.mask_loss = RefinementLoss(
            getattr(loss, "loss", loss), self.label_manager.has_regions, self.label_manager.ignore_label
        )
        return loss

    # --- one step ----------------------------------------------------------------------------------------

    @not_compiled
    def make_noised_mask(self, target: Tensor, stage1_logits: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Draw t uniformly from 1..T and noise masks to it; x_t, t and the noise (paper eq. 2, A.3)."""
        x_start = encode_masks(self._x_start(target, stage1_logits))
        network = self.diffusion_network
        t = torch.randint(1, network.sampler.t_start + 1, (x_start.shape[0],), device=x_start.device)
        noise = torch.randn_like(x_start)
        return q_sample(x_start, t, noise, network.alphas_cumprod), t, noise

    def _x_start(self, target: Tensor, stage1_logits: Tensor | None) -> Tensor:
        """The masks in {0, 1} (B, K, *spatial) that are noised: the ground truth."""
        if self.label_manager.has_regions:
            return target.float()
        return one_hot_channels(target[:, 0], self.label_manager.num_segmentation_heads)

    def train_step(self, batch: dict) -> dict:
        data = batch["data"].to(self.device, non_blocking=True)
        target = _to_device(batch["target"], self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type) if self.device.type == "cuda" else dummy_context():
            output = self._training_output(data, full_resolution(target), batch)
            denoiser_loss = self._denoiser_loss(output, target)
            loss = denoiser_loss + self._stage1_loss(output, target)
        (loss if self.grad_scaler is None else self.grad_scaler.scale(loss)).backward()
        self.optimizer.step(self.grad_scaler)
        return {"loss": denoiser_loss.detach().cpu().numpy()}

    def _training_output(self, data: Tensor, target: Tensor, batch: dict) -> TrainingOutput:
        """The network's output for one batch, of which `data` and `target` are on the device already."""
        return self.network(data, self.make_noised_mask, target)

    def _denoiser_loss(self, output: TrainingOutput, target: Tensor | list[Tensor]) -> Tensor:
        if self.sampler.prediction_type == "epsilon":
            return F.mse_loss(output.model_output.float(), output.noise)
        return self._mask_loss(output.model_output, target)

    def _stage1_loss(self, output: TrainingOutput, target: Tensor | list[Tensor]) -> Tensor | float:
        return 0.0

    def _mask_loss(self, output: Tensor | list[Tensor], target: Tensor | list[Tensor]) -> Tensor:
        return self.mask_loss(full_resolution(output), full_resolution(target))

    def validation_step(self, batch: dict) -> dict:
        """Stock, on what few denoising steps give: this runs fifty times per epoch.

        The validation loss is MSE + Dice + cross-entropy of the sampled masks.
        """
        with self._quick_sampler():
            return super().validation_step(batch)

    @contextmanager
    def _quick_sampler(self) -> Iterator[None]:
        trained, training_loss = self.diffusion_network.sampler, self.loss
        steps = min(self.validation_ddim_steps, trained.t_start)
        self.diffusion_network.configure_sampler(num_samples=1, ddim_steps=steps, fusion_steps=1)
        self.loss = self._mask_loss
        try:
            yield
        finally:
            self.diffusion_network.configure_sampler(trained)
            self.loss = training_loss

    # --- checkpoints -------------------------------------------------------------------------------------

    def save_checkpoint(self, filename: str) -> None:
        """Stock, but the file appears under its name only when it is whole."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return super().save_checkpoint(filename)
        with written_whole(filename) as temporary:
            super().save_checkpoint(str(temporary))


def _to_device(target: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    if isinstance(target, list):
        return [t.to(device, non_blocking=True) for t in target]
    return target.to(device, non_blocking=True)
