"""nnU-Net's predictor; refinement, its cost and its uncertainty are choices, unfit scans are told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import Tensor
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from ..diffusion.fusion import ENTROPY, class_entropy
from ..errors import UserError
from ..network.diffusion_network import DiffusionNetwork
from ..network.two_stage import TwoStageNetwork
from ..nnunet_hooks import OptimizedModule, checkpoint_loader, export_function, stock
from ..stored import stored_in
from ..uncertainty.confidence import agreement_limit
from ..uncertainty.stored import Calibration, stored_calibration
from .confidence_table import collect_confidence
from .export import CASE, CaseMaps, export_case
from .finished import Outputs, are_of_this_kind, keep_record
from .inputs import why_unfit
from .maps import check_supported
from .mirrored import predict_mirrored
from .settings import PredictionSettings, autocast, check_precision
from .tiles import TileMaps
from .untrusted import check_network_classes, load_safely, read_json


class SpineSegDiffPredictor(stock.nnUNetPredictor):
    """The stock predictor for our models.

    Attributes:
        settings: how to predict.
        failures: one line for every case that was left out, with file and reason.
        calibration: what `spinesegdiff calibrate` stored with the model, where it fits these settings.
    """

    settings = PredictionSettings()
    network: Any
    use_mirroring: bool
    list_of_parameters: list[dict[str, Tensor]]
    trainer_name: str
    export = staticmethod(export_case)
    """What makes files of the logits of a case, in worker processes; `export_case`'s arguments."""

    def __init__(self, *args: Any, settings: PredictionSettings | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.settings = settings or self.settings
        self.failures: list[str] = []
        self.calibration: Calibration | None = None
        self.record: dict[str, Any] = {}
        self._tile_maps: TileMaps | None = None
        self._fold_maps: list[list[Tensor]] = []
        self._current = CaseMaps()
        self._inputs: dict[str, list[str]] = {}

    # --- the model ---------------------------------------------------------------------------------------

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
        _check_trained(folder, use_folds, checkpoint_name)
        plans = read_json(folder / "plans.json")
        check_network_classes(plans, folder / "plans.json")
        if "trainer" in stored_in(plans):
            self._initialize_exported(folder, plans, use_folds, checkpoint_name, checkpoints)
        else:
            with checkpoint_loader(load_safely):
                super().initialize_from_trained_model_folder(
                    model_training_output_dir, use_folds, checkpoint_name
                )
        # nnU-Net's own trainer builds the network of an exported model; the plans tell who trained it.
        self.trainer_name = stored_in(plans).get("trainer", self.trainer_name)
        if isinstance(self.network, OptimizedModule):
            # Compiled part by part: what runs here between the parts is not `forward`.
            self.network = self.network._orig_mod
            for part in (getattr(self.network, name, None) for name in ("stage1", "denoiser")):
                if part is not None:
                    part.compile()
        if len(self.list_of_parameters) == 1:
            # nnU-Net loads a copy before every case; only an ensemble needs others than the network's own.
            # Taken before the network is moved, they would stay behind, to be copied to the GPU every time.
            self.network = self.network.to(self.device)
            self.list_of_parameters = [self.network.state_dict()]
        self._check_network(folder)
        check_precision(self.settings.precision, self.device)
        if self.settings.save_uncertainty:
            check_supported(self.plans_manager.image_reader_writer_class.__name__)
        if isinstance(self.network, TwoStageNetwork):
            self.network.refine_predictions = self.settings.refine
        if self.settings.refine:
            self.network.configure_sampler(self.settings.sampler(self.network.sampler))
        self.record = self._record(folder, use_folds, checkpoint_name)
        self.calibration = self._stored_calibration()

    def _initialize_exported(
        self,
        folder: Path,
        plans: dict[str, Any],
        folds: Any,
        checkpoint_name: str,
        checkpoints: list[dict[str, Any]] | None,
    ) -> None:
        """As stock for an exported model, whose plans alone describe its network.

        Stock imports nnU-Net's trainers and with them torch's compiler, and draws random weights first.
        """
        if checkpoints is None:
            if folds is None:
                folds = self.auto_detect_available_folds(str(folder), checkpoint_name)
            checkpoints = [load_safely(folder / f"fold_{fold}" / checkpoint_name) for fold in folds]
        dataset = read_json(folder / "dataset.json")
        manager = stock.PlansManager(plans)
        configuration = manager.get_configuration(checkpoints[0]["init_args"]["configuration"])
        with _WithoutRandomWeights():
            network = get_network_from_plans(
                configuration.network_arch_class_name,
                configuration.network_arch_init_kwargs,
                configuration.network_arch_init_kwargs_req_import,
                stock.determine_num_input_channels(manager, configuration, dataset),
                manager.get_label_manager(dataset).num_segmentation_heads,
                allow_init=False,
                deep_supervision=False,
            )
        weights = checkpoints[0]["network_weights"]
        # Other folds' weights are copied into the network's; those of the only one can be the network's.
        only = len(checkpoints) == 1 and all(w.dtype in (torch.float32, torch.bool) for w in weights.values())
        network.load_state_dict(weights, assign=only)
        self.manual_initialization(
            network,
            manager,
            configuration,
            [checkpoint["network_weights"] for checkpoint in checkpoints],
            dataset,
            checkpoints[0]["trainer_name"],
            checkpoints[0]["inference_allowed_mirroring_axes"],
        )

    def _check_network(self, folder: Path) -> None:
        if not isinstance(self.network, DiffusionNetwork):
            raise UserError(
                folder,
                f"trained with {self.trainer_name}, which has no refiner",
                "leave out our flags, or predict with -tr nnUNetTrainerSpineSegDiff",
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

    @property
    def wants_maps(self) -> bool:
        """Whether the export needs the uncertainty and stage 1's logits of a case."""
        return self.settings.save_uncertainty

    @property
    def _temperatures(self) -> Tensor | None:
        return torch.tensor(self.calibration.temperatures) if self.calibration else None

    @property
    def _regions(self) -> bool:
        return bool(self.network.heads_are_regions)

    def _stored_calibration(self) -> Calibration | None:
        return stored_calibration(self.plans_manager.plans, self.record)

    def _record(self, folder: Path, folds: Any, checkpoint_name: str) -> dict[str, Any]:
        """How this predicts: what must be the same for masks that are to lie in one folder."""
        return {
            "dataset": self.plans_manager.dataset_name,
            "model": folder.name,
            "trainer": self.trainer_name,
            "checkpoint": checkpoint_name,
            "folds": [str(fold) for fold in folds] if folds else "all that are there",
            "refine": self.settings.refine,
            "sampler": vars(self.network.sampler) if self.settings.refine else None,
            "tile_step_size": self.tile_step_size,
            "mirroring": bool(self.use_mirroring and self.allowed_mirroring_axes),
            "mirror_refinement": self.settings.mirror_refinement,
            "precision": self.settings.precision,
        }

    # --- the cases ---------------------------------------------------------------------------------------

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
                    f"the model reads files that end in {ending} (one number a channel)",
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

    def predict_from_data_iterator(
        self, data_iterator: Iterable[dict], save_probabilities: bool = False, *args: Any, **kwargs: Any
    ) -> list:
        """Stock, with an export of ours: files appear whole, and with them what the user asked for."""
        outputs: list[str] = []
        with export_function(self.export):
            returned = super().predict_from_data_iterator(
                self._remembering(data_iterator, outputs), save_probabilities, *args, **kwargs
            )
        self._collect_confidence(outputs)
        return returned

    def _collect_confidence(self, outputs: list[str]) -> None:
        if outputs:
            collect_confidence(Path(outputs[0]).parent)

    def _remembering(self, data_iterator: Iterable[dict], outputs: list[str]) -> Iterator[dict]:
        """The same cases; what is known of each travels to the export in nnU-Net's own properties.

        An array that is predicted for its mask alone has no output.
        """
        for case in data_iterator:
            output = case["ofile"]
            self._current = case["data_properties"][CASE] = self._case(output) if output else CaseMaps()
            outputs += [output] if output else []
            yield case

    def predict_from_files_sequential(
        self,
        list_of_lists_or_source_folder: Any,
        output_folder_or_list_of_truncated_output_files: Any,
        save_probabilities: bool = False,
        overwrite: bool = True,
        folder_with_segs_from_prev_stage: str | None = None,
    ) -> list:
        """Stock (`-npp 0 -nps 0`), with an export of ours. Its parameters must have the stock names."""

        def export(logits: Any, properties: dict[str, Any], *rest: Any) -> None:
            case, seen = self._case(rest[3]), self._current
            properties[CASE] = replace(case, uncertainty=seen.uncertainty, stage1=seen.stage1)
            self.export(logits, properties, *rest)

        with export_function(export):
            returned = super().predict_from_files_sequential(
                list_of_lists_or_source_folder,
                output_folder_or_list_of_truncated_output_files,
                save_probabilities,
                overwrite,
                folder_with_segs_from_prev_stage,
            )
        self._collect_confidence(list(self._inputs))
        return returned

    def _case(self, output: str) -> CaseMaps:
        return CaseMaps(
            self._inputs.get(output, []),
            self.calibration,
            measure=self.network.fusion.measure,
            agreement_limit=agreement_limit(self.network.sampler.stage1_weight),
        )

    # --- one case ----------------------------------------------------------------------------------------

    def predict_with_maps(self, data: Tensor) -> tuple[Tensor, CaseMaps]:
        """Logits (K, *spatial) of a preprocessed case (C, *spatial), and what is known beside them."""
        self._current = self._case("")
        return self.predict_logits_from_preprocessed_data(data), self._current

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

    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """Stock; the maps beside the logits are averaged over the folds, too."""
        self._fold_maps = []
        logits = super().predict_logits_from_preprocessed_data(data)
        if self._fold_maps:
            uncertainty, *stage1 = (torch.stack(maps).mean(0) for maps in zip(*self._fold_maps, strict=True))
            if len(self._fold_maps) > 1 and self.network.fusion.measure == ENTROPY:
                # Folds that contradict each other may each be sure; what they say together is not.
                together = class_entropy(logits[None].cpu(), self._regions, self._temperatures)[0]
                uncertainty = torch.maximum(uncertainty, together)
            self._current.uncertainty = uncertainty.numpy()
            self._current.stage1 = stage1[0].numpy() if stage1 else None
        return logits

    def predict_sliding_window_return_logits(self, input_image: Tensor) -> Tensor:
        """Stock; the maps beside the logits lose nnU-Net's padding, too."""
        logits = super().predict_sliding_window_return_logits(input_image)
        if self._tile_maps is not None:
            # nnU-Net pads to the patch size and cuts the padding off again without telling where it was.
            _, crop = stock.pad_nd_image(
                input_image[:1], self.configuration_manager.patch_size, "constant", {"value": 0}, True, None
            )
            inside = (slice(None), *crop[1:])
            self._fold_maps.append([m[inside] for m in self._tile_maps.means()])
            self._tile_maps = None
        return logits

    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: list[tuple], do_on_device: bool = True
    ) -> Tensor:
        if self.wants_maps:
            device = self.device if do_on_device else torch.device("cpu")
            patch = tuple(self.configuration_manager.patch_size)
            gaussian = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
            self._tile_maps = TileMaps(slicers, data.shape[1:], gaussian if self.use_gaussian else 1, device)
        return super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)

    @torch.inference_mode()
    def _internal_maybe_mirror_and_predict(self, x: Tensor) -> Tensor:
        with autocast(self.settings.precision, self.device):
            predicted = predict_mirrored(
                self.network,
                x,
                self.allowed_mirroring_axes if self.use_mirroring else None,
                mirror_refinement=self.settings.mirror_refinement,
                # In float32 a CPU gains nothing by it, and one by one the numbers are nnU-Net's own.
                side_by_side=self.device.type == "cuda" or self.settings.precision == "bfloat16",
            )
        if self._tile_maps is not None:
            maps = [predicted.steps.uncertainty(self._temperatures), predicted.stage1]
            self._tile_maps.add([m[0] for m in maps if m is not None])
        return predicted.logits


class _WithoutRandomWeights(TorchFunctionMode):
    """Modules that are built in here have weights of any value: trained ones are loaded next."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)


def _check_trained(folder: Path, folds: Any, checkpoint_name: str) -> None:
    if not (folder / "plans.json").is_file():
        raise UserError(folder, "there is no trained model", "check -d, -tr, -p and -c, or train it first")
    for fold in folds or ():
        checkpoint = folder / f"fold_{fold}" / checkpoint_name
        if not checkpoint.is_file():
            raise UserError(checkpoint, "no such checkpoint", "name the trained folds with -f")
