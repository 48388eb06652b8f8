"""Prediction of files: unfit scans are left out, finished cases may be kept, every file appears whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import UserError
from ..nnunet_hooks import export_function, stock
from ..uncertainty.confidence import agreement_limit
from .confidence_table import collect_confidence
from .export import CASE, CaseMaps, PredictedCase, export_case, export_with
from .finished import Outputs, are_of_this_kind, keep_record
from .inputs import why_unfit
from .map_predictor import MapPredictor


class FilePredictor(MapPredictor):
    """The stock predictor with SpineSegDiff's export.

    Attributes:
        failures: one line for every case that was left out, with file and reason.
        record: how this predicts; masks that are to be kept must have been predicted in the same way.
    """

    export: Callable[[PredictedCase], None] = staticmethod(export_case)
    """What makes files of a predicted case, in worker processes."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.failures: list[str] = []
        self.record: dict[str, Any] = {}
        self._inputs: dict[str, list[str]] = {}

    # --- which cases -------------------------------------------------------------------------------------

    def _manage_input_and_output_lists(
        self,
        list_of_lists_or_source_folder: Any,
        output_folder_or_list_of_truncated_output_files: Any,
        folder_with_segs_from_prev_stage: str | None = None,
        overwrite: bool = True,
        part_id: int = 0,
        num_parts: int = 1,
        save_probabilities: bool = False,
    ) -> tuple[list[list[str]], list[str] | None, list[str | None]]:
        """Stock; then takes out finished cases and, remembering why, unfit ones.

        Raises:
            UserError: the folder holds no case with the dataset's file ending, or masks that are to be kept
                were predicted in another way.
        """
        self._inputs = {}
        if isinstance(list_of_lists_or_source_folder, str):
            ending = f"_0000{self.dataset_json['file_ending']}"
            if not any(Path(list_of_lists_or_source_folder).glob(f"*{ending}")):
                raise UserError(
                    list_of_lists_or_source_folder,
                    "no case to predict",
                    f"the model reads files that end in {ending} (one number per channel); "
                    "for other scans, use spinesegdiff segment",
                )
        inputs, outputs, previous = super()._manage_input_and_output_lists(
            list_of_lists_or_source_folder,
            output_folder_or_list_of_truncated_output_files,
            folder_with_segs_from_prev_stage,
            True,  # which cases are finished is asked below: stock takes a truncated file for a mask
            part_id,
            num_parts,
            save_probabilities,
        )
        wanted = self._unfinished(outputs, overwrite, save_probabilities) if outputs else range(len(inputs))
        checked = tqdm(wanted, desc="Checking", unit="case", disable=not self.allow_tqdm)
        reader = self.plans_manager.image_reader_writer_class()
        reasons = {i: why_unfit(inputs[i], reader) for i in checked}
        self.failures += [reason for reason in reasons.values() if reason is not None]
        fit = [i for i, reason in reasons.items() if reason is None]
        if outputs is None:
            return [inputs[i] for i in fit], None, [previous[i] for i in fit]
        for i in set(reasons) - set(fit):
            # An earlier prediction of that name would pass for one of the scan that is there now.
            self._outputs(outputs[i], save_probabilities).remove()
        self._inputs = {outputs[i]: inputs[i] for i in fit}
        if not fit:  # nothing to do, but the table may be what is missing
            self._collect_confidence(outputs)
        return [inputs[i] for i in fit], [outputs[i] for i in fit], [previous[i] for i in fit]

    def _unfinished(self, outputs: list[str], overwrite: bool, save_probabilities: bool) -> list[int]:
        record = {**self.record, "temperatures": self.calibration and self.calibration.temperatures}
        folder = Path(outputs[0]).parent
        if overwrite and not are_of_this_kind(folder, record):
            # Stopped half way and gone on with, this prediction would take them for its own.
            for output in outputs:
                self._outputs(output, save_probabilities).remove()
        keep_record(folder, record, overwrite, self.dataset_json["file_ending"])
        if overwrite:
            return list(range(len(outputs)))
        left = [i for i, o in enumerate(outputs) if not self._outputs(o, save_probabilities).are_whole()]
        print(f"{len(outputs) - len(left)} of {len(outputs)} cases are finished already")
        return left

    def _outputs(self, truncated: str, save_probabilities: bool) -> Outputs:
        ending = self.dataset_json["file_ending"]
        return Outputs(Path(truncated), ending, save_probabilities, self.settings.save_uncertainty)

    # --- their files -------------------------------------------------------------------------------------

    def predict_from_data_iterator(
        self, data_iterator: Iterable[dict], save_probabilities: bool = False, *args: Any, **kwargs: Any
    ) -> list:
        """Predict with SpineSegDiff's export: every file is written completely or not at all."""
        outputs: list[str] = []
        with export_function(partial(export_with, self.export)):
            returned = super().predict_from_data_iterator(
                self._remembering(data_iterator, outputs), save_probabilities, *args, **kwargs
            )
        self._collect_confidence(outputs)
        return returned

    def _remembering(self, data_iterator: Iterable[dict], outputs: list[str]) -> Iterator[dict]:
        """The same cases; what is known of each travels to the export in nnU-Net's own properties.

        An array that is predicted for its mask alone has no output.
        """
        for case in data_iterator:
            output = case["ofile"]
            self.maps = case["data_properties"][CASE] = self._maps_of(output) if output else CaseMaps()
            outputs += [output] if output else []
            yield case

    @wraps(stock.nnUNetPredictor.predict_from_files_sequential)
    def predict_from_files_sequential(self, *args: Any, **kwargs: Any) -> list:
        """Predict without workers (`-npp 0 -nps 0`). nnU-Net inspects the export's parameter names."""

        def export(logits: Any, properties: dict[str, Any], *rest: Any) -> None:
            maps = self._maps_of(rest[3])
            properties[CASE] = replace(maps, uncertainty=self.maps.uncertainty, stage1=self.maps.stage1)
            export_with(self.export, logits, properties, *rest)

        with export_function(export):
            returned = super().predict_from_files_sequential(*args, **kwargs)
        self._collect_confidence(list(self._inputs))
        return returned

    def _maps_of(self, output: str) -> CaseMaps:
        return CaseMaps(
            self._inputs.get(output, []),
            self.calibration,
            measure=self.settings.measure(self.network.fusion.measure),
            agreement_limit=agreement_limit(self.network.sampler.stage1_weight),
        )

    def _collect_confidence(self, outputs: list[str]) -> None:
        if outputs:
            collect_confidence(Path(outputs[0]).parent)
