"""A trained model, loaded once, that segments sagittal slices of scans."""

from __future__ import annotations

from typing import Any

import torch

from ..environment import make_trainers_known, search_unheard
from ..errors import UserError
from ..inference.arrays import ArrayPredictor
from ..inference.predictor import SpineSegDiffPredictor
from ..labels import BACKGROUND, CLASSES
from ..measures import Measure
from ..network.two_stage import TwoStageNetwork
from ..sharing.opening import OpenedModel
from ..stored import stored_in
from ..text import reason_of
from ..training.report import too_low
from ..uncertainty.confidence import agreement_limit
from .settings import SegmentationSettings

# What nnU-Net says, in any way but plain words, of a file in which something is missing.
_DO_NOT_FIT = (KeyError, TypeError, AttributeError, ValueError, RuntimeError, AssertionError)
_TODO = "segment with one trained on a dataset of `spinesegdiff convert`, or predict with nnUNetv2_predict"

SINGLE_SLICES = {"slices": "middle", "dim": "2d"}
"""`SliceModel.cut` of a model whose training cases were single slices."""


class SliceModel:
    """A model of a converted dataset.

    Attributes:
        opened: its location and identity.
        cut: how the converter cut its training cases: `slices` and `dim` of `extract_slice`.
        notes: what a user of the results should know, a line each.
        predictor: of its slices.
        finds_midsagittal: whether it can find the midsagittal slice, with what stage 1 alone predicts within
            `first_look()`.
        device: where it predicts.
        calibration: what `spinesegdiff calibrate` stored for these settings, or None.
        agreement_limit: Dice of stage 1 and the mask below which they disagree.
        measure: what the maps show.
    """

    def __init__(self, opened: OpenedModel, settings: SegmentationSettings, device: torch.device):
        """
        Raises:
            UserError: the model is damaged or not trusted, was trained on something else than converted
                scans, or cannot do what the settings ask for.
        """
        self.opened = opened
        make_trainers_known()
        try:
            predictor = _initialised(opened, settings, device)
            self.cut = _cut_of(predictor.dataset_json, opened.label)
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                opened.label, f"{device} has not enough memory", "choose the device cpu"
            ) from None
        except _DO_NOT_FIT as error:
            raise UserError(
                opened.label,
                "its plans.json, dataset.json and weights do not fit together "
                f"({reason_of(error, with_type=True)})",
                "copy, install or export the model again",
            ) from error
        self.notes = _notes(predictor)
        if warning := too_low(opened.validation_dice):
            self.notes.append(f"{opened.label}: {warning}")
        self.predictor = ArrayPredictor(predictor)
        # A model of single slices can look at some without the cost of a refinement.
        has_stage1 = isinstance(predictor.network, TwoStageNetwork)
        self.finds_midsagittal = self.cut == SINGLE_SLICES and has_stage1
        self.first_look = predictor.stage1_of_first_fold
        self.device = predictor.device
        self.calibration = predictor.calibration
        self.agreement_limit = agreement_limit(predictor.network.sampler.stage1_weight)
        self.measure: Measure = settings.prediction.measure(predictor.network.fusion.measure)


def _initialised(
    opened: OpenedModel, settings: SegmentationSettings, device: torch.device
) -> SpineSegDiffPredictor:
    with search_unheard():
        predictor = SpineSegDiffPredictor(
            settings=settings.prediction,
            use_mirroring=settings.mirroring,
            device=device,
            allow_tqdm=False,
        )
        predictor.initialize_from_trained_model_folder(
            str(opened.folder), opened.folds, opened.checkpoint, opened.checkpoints
        )
    return predictor


def _cut_of(dataset_json: dict[str, Any], model: str) -> dict[str, str]:
    cut = dataset_json.get("conversion")
    if dataset_json.get("converted_by") != "nnunetv2_spinesegdiff" or not cut:
        raise UserError(model, "its dataset.json does not state how slices were extracted", f"{_TODO}")
    labels = {name: value for name, value in dataset_json["labels"].items() if name != "ignore"}
    if labels != CLASSES or labels["background"] != BACKGROUND:
        raise UserError(model, f"segments {', '.join(labels)}, not {', '.join(CLASSES)}", f"{_TODO}")
    return {"slices": cut["slices"], "dim": cut["dim"]}


def _notes(predictor: SpineSegDiffPredictor) -> list[str]:
    if predictor.calibration is None and stored_in(predictor.plans_manager.plans).get("calibrations"):
        return [
            "the model was calibrated for other settings: maps are not calibrated, and areas have no bounds"
        ]
    return []
