"""nnU-Net's predictor for our models; refinement, its cost and its uncertainty are choices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..diffusion.settings import EVERYTHING
from ..errors import UserError
from ..network.diffusion_network import DiffusionNetwork
from ..network.two_stage import TwoStageNetwork
from ..nnunet_hooks import checkpoint_loader
from ..stored import stored_in
from ..uncertainty.stored import Calibration, stored_calibration
from .file_predictor import FilePredictor
from .loading import check_trained, compile_parts, load_exported, share_weights, use_group_norms
from .maps import check_supported
from .settings import check_precision
from .untrusted import check_network_classes, load_safely, read_json


class SpineSegDiffPredictor(FilePredictor):
    """The stock predictor for our models."""

    list_of_parameters: list[dict[str, Tensor]]
    trainer_name: str

    def initialize_from_trained_model_folder(
        self,
        model_training_output_dir: str,
        use_folds: Any,
        checkpoint_name: str = "checkpoint_final.pth",
        checkpoints: list[dict[str, Any]] | None = None,
    ) -> None:
        """Stock; then sets the network to what was asked for.

        Args:
            checkpoints: of an exported model, those of these folds if they have been read already.

        Raises:
            UserError: there is no such trained model, its files hold more than tensors, plain values and
                names of known classes, it has no refiner, or model or machine cannot do what the settings
                ask for.
        """
        folder = Path(model_training_output_dir)
        use_folds = [use_folds] if isinstance(use_folds, str) else use_folds
        check_trained(folder, use_folds, checkpoint_name)
        plans = read_json(folder / "plans.json")
        check_network_classes(plans, folder / "plans.json")
        if "trainer" in stored_in(plans):
            load_exported(self, folder, plans, use_folds, checkpoint_name, checkpoints)
        else:
            with checkpoint_loader(load_safely):
                super().initialize_from_trained_model_folder(
                    model_training_output_dir, use_folds, checkpoint_name
                )
        # nnU-Net's own trainer builds the network of an exported model; the plans tell who trained it.
        self.trainer_name = stored_in(plans).get("trainer", self.trainer_name)
        compile_parts(self)
        share_weights(self)
        self._check_network(folder)
        check_precision(self.settings.precision, self.device)
        if self.settings.save_uncertainty:
            check_supported(self.plans_manager.image_reader_writer_class.__name__)
        if isinstance(self.network, TwoStageNetwork):
            self.network.refine_predictions = self.settings.refine
        if self.settings.refine:
            # Not without a preset: there, logits are nnU-Net's own to the bit.
            if self.device.type == "cpu" and self.settings.preset:
                use_group_norms(self.network)
            self.network.configure_sampler(self.settings.sampler(self.network.sampler))
        self.record = self._record(folder, use_folds, checkpoint_name)
        self.calibration = self._stored_calibration()

    def _check_network(self, folder: Path) -> None:
        if not isinstance(self.network, DiffusionNetwork):
            raise UserError(
                folder,
                f"trained with {self.trainer_name}, which has no refiner",
                "leave out the SpineSegDiff options, or predict with -tr nnUNetTrainerSpineSegDiff",
            )
        if isinstance(self.network, TwoStageNetwork):
            return
        for flag, given in (("no_refine", not self.settings.refine), ("preset", self.settings.preset)):
            if given:
                raise UserError(
                    flag,
                    f"{folder} was trained with {self.trainer_name}, which starts from noise and refines "
                    "nothing",
                    "leave it out, num_samples and ddim_steps choose the cost",
                )

    def _stored_calibration(self) -> Calibration | None:
        return stored_calibration(self.plans_manager.plans, self.record)

    def _record(self, folder: Path, folds: Any, checkpoint_name: str) -> dict[str, Any]:
        """Settings of the prediction, which must be the same for all masks in one folder."""
        return {
            "dataset": self.plans_manager.dataset_name,
            "model": folder.name,
            "trainer": self.trainer_name,
            "checkpoint": checkpoint_name,
            "folds": [str(fold) for fold in folds] if folds else "all that are there",
            "refine": self.settings.refine,
            "sampler": vars(self.network.sampler) if self.settings.refine else None,
            "tile_step_size": self.tile_step_size,
            "mirroring": bool(self.mirrored_axes),
            "mirror_refinement": self.settings.mirrored == EVERYTHING,
            "precision": self.settings.precision,
            "uncertainty_map": self.settings.uncertainty_map,
        }

    @contextmanager
    def stage1_of_first_fold(self) -> Iterator[None]:
        """Predict what is cheapest: stage 1 of one fold, without mirrored copies."""
        kept = self.list_of_parameters, self.use_mirroring, self.network.refine_predictions
        self.list_of_parameters = self.list_of_parameters[:1]
        self.use_mirroring = self.network.refine_predictions = False
        try:
            yield
        finally:
            self.list_of_parameters, self.use_mirroring, self.network.refine_predictions = kept
