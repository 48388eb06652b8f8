"""nnU-Net's predictor, with refinement as a choice and unfit scans told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch._dynamo import OptimizedModule
from tqdm import tqdm

from ..errors import UserError
from ..network.two_stage import TwoStageNetwork
from .inputs import why_unfit


class SpineSegDiffPredictor(nnUNetPredictor):
    """The stock predictor for two-stage models.

    Attributes:
        refine: True refines, False gives stage 1 alone, None leaves the network as it is (it refines).
        failures: one line for every case that was left out, with file and reason.
    """

    refine: bool | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.failures: list[str] = []

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_folds: Any, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        """Stock; then sets the network to what was asked for.

        Raises:
            UserError: there is no such trained model, or refinement was asked for or declined and the model
                has no refiner.
        """
        _check_trained(Path(model_training_output_dir), use_folds, checkpoint_name)
        super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        if self.refine is None:
            return
        network = self.network._orig_mod if isinstance(self.network, OptimizedModule) else self.network
        if not isinstance(network, TwoStageNetwork):
            raise UserError(
                f"{model_training_output_dir}: trained with {self.trainer_name}, which has no refiner; "
                "leave out --refine and --no_refine, or predict with -tr nnUNetTrainerSpineSegDiff"
            )
        network.refine_predictions = self.refine

    def _manage_input_and_output_lists(
        self, list_of_lists_or_source_folder: Any, *args: Any, **kwargs: Any
    ) -> tuple[list[list[str]], list[str] | None, list[str | None]]:
        """Stock; then takes out the cases that are unfit and remembers why.

        Raises:
            UserError: the folder holds no case with the dataset's file ending.
        """
        if isinstance(list_of_lists_or_source_folder, str):
            ending = f"_0000{self.dataset_json['file_ending']}"
            if not any(Path(list_of_lists_or_source_folder).glob(f"*{ending}")):
                raise UserError(
                    f"{list_of_lists_or_source_folder}: no case to predict; the model reads files that end "
                    f"in {ending} (one number a channel)"
                )
        inputs, outputs, previous = super()._manage_input_and_output_lists(
            list_of_lists_or_source_folder, *args, **kwargs
        )
        reader = self.plans_manager.image_reader_writer_class()
        checked = tqdm(inputs, desc="Checking", unit="case", disable=not self.allow_tqdm)
        reasons = [why_unfit(files, reader) for files in checked]
        self.failures += [reason for reason in reasons if reason is not None]
        fit = [i for i, reason in enumerate(reasons) if reason is None]
        if outputs is not None:
            for output in (outputs[i] for i, reason in enumerate(reasons) if reason is not None):
                # An earlier prediction of that name would pass for one of the scan that is there now.
                Path(output + self.dataset_json["file_ending"]).unlink(missing_ok=True)
        return [inputs[i] for i in fit], outputs and [outputs[i] for i in fit], [previous[i] for i in fit]


def _check_trained(folder: Path, folds: Any, checkpoint_name: str) -> None:
    if not (folder / "plans.json").is_file():
        raise UserError(f"{folder}: there is no trained model; check -d, -tr, -p and -c, or train it first")
    for fold in folds or ():
        checkpoint = folder / f"fold_{fold}" / checkpoint_name
        if not checkpoint.is_file():
            raise UserError(f"{checkpoint}: there is no such checkpoint; name the trained folds with -f")
