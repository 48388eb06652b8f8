"""How far to trust a trained model: fitted on the validation cases of its folds, stored in its plans.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..dataset_conversion.names import patient_of
from ..errors import UserError
from ..files import save_json
from ..inference.settings import PredictionSettings
from ..inference.structures import structures_of
from ..stored import stored_in, with_stored
from ..uncertainty.conformal import area_quantile, cross_validated_coverage
from ..uncertainty.stored import kind_of
from ..uncertainty.temperature import Reliability, fit_temperatures, reliability, temperature_scaled
from .cases import HeldOutCases
from .held_out import HeldOutPredictor, Measured

LEVEL = 0.9
"""Share of new cases whose true area is expected within the bounds, which are cross-conformal."""
FIT_PIXELS = 200_000
"""A fit of so many takes two seconds."""
BLOCKS = 5
"""Number of parts of a single fold's patients, where folds are to be held against each other."""


@dataclass
class Fitted:
    """Result of a calibration.

    Attributes:
        stored: what was put into the model's plans.json.
        heads: names of the segmentation heads, in the order of the temperatures.
        diagrams: stage 1, refined and calibrated; the last with temperatures of the other folds. Without a
            stage 1, as predicted and calibrated.
        failures: one line for every case that was left out.
    """

    stored: dict[str, Any]
    heads: list[str]
    diagrams: dict[str, Reliability]
    failures: list[str]


def calibrate(
    model: Path,
    folds: Sequence[int],
    cases: HeldOutCases,
    settings: PredictionSettings,
    *,
    device: torch.device,
    mirroring: bool = True,
    checkpoint: str = "checkpoint_final.pth",
    num_processes: int = 1,
) -> Fitted:
    """Predict the validation cases of every fold with the model of this fold, fit, and store with the model.

    Raises:
        UserError: model, folds or cases are not there, or none could be predicted.
    """
    folds = sorted(set(folds))
    measured: list[Measured] = []
    groups: list[int] = []
    failures: list[str] = []
    for fold in folds:
        names = cases.of_fold(fold)
        predictor = HeldOutPredictor(use_mirroring=mirroring, device=device, settings=settings)
        predictor.initialize_from_trained_model_folder(str(model), (fold,), checkpoint)
        found = predictor.measure({name: cases.images[name] for name in names}, cases.labels, num_processes)
        failures += predictor.failures
        measured += found
        groups += [fold] * len(found)
    if not measured:
        raise UserError(model, "no validation case could be predicted (" + " | ".join(failures) + ")")
    patients = [patient_of(m.case) or m.case for m in measured]
    everyone = list(dict.fromkeys(patients))
    if len(set(groups)) == 1:
        groups = [everyone.index(patient) * BLOCKS // len(everyone) for patient in patients]
    labels = predictor.plans_manager.get_label_manager(predictor.dataset_json)
    structures = list(structures_of(labels, predictor.dataset_json))
    regions = labels.has_regions
    temperatures = _fit(measured, regions)
    diagrams = _diagrams(measured, np.array(groups), regions, settings.refine)
    fitted = {
        "kind": kind_of(predictor.record),
        "folds": list(folds),
        "cases": len(measured),
        "patients": len(everyone),
        "temperatures": temperatures.tolist(),
        "areas": _areas(measured, patients, np.array(groups), structures),
        "expected_calibration_error": {
            name: _or_none(diagram.expected_calibration_error) for name, diagram in diagrams.items()
        },
    }
    _store(fitted, model / "plans.json")
    heads = structures if regions else ["background", *structures]
    return Fitted(fitted, heads, diagrams, failures)


def _fit(measured: Sequence[Measured], regions: bool) -> np.ndarray:
    """Temperatures (K,) from an even share of every case's pixels."""
    share = FIT_PIXELS // len(measured)
    drawn = [np.random.default_rng(0).permutation(m.probabilities.shape[1])[:share] for m in measured]
    pairs = list(zip(measured, drawn, strict=True))
    probabilities = np.concatenate([m.probabilities[:, pixels] for m, pixels in pairs], 1)
    truth = np.concatenate([m.truth[..., pixels] for m, pixels in pairs], -1)
    if not probabilities.size:  # neither truth nor prediction holds any structure
        return np.ones(len(probabilities))
    return fit_temperatures(probabilities, truth, regions)


def _diagrams(
    measured: Sequence[Measured], groups: np.ndarray, regions: bool, refined: bool
) -> dict[str, Reliability]:
    """Before and after. Every case is calibrated with temperatures that the other folds gave."""
    empty = reliability(np.zeros(0), np.zeros(0, bool))
    stage1, before, after = empty, empty, empty
    with_stage1 = measured[0].stage1 is not None
    for group in np.unique(groups):
        others = [m for m, g in zip(measured, groups, strict=True) if g != group]
        temperatures = _fit(others, regions) if others else None
        for m in (m for m, g in zip(measured, groups, strict=True) if g == group):
            if m.stage1 is not None:
                stage1 += _diagram(m.stage1, m.truth, regions)
            before += _diagram(m.probabilities, m.truth, regions)
            if temperatures is not None:
                scaled = temperature_scaled(m.probabilities, temperatures, regions)
                after += _diagram(scaled, m.truth, regions)
    if not with_stage1:
        return {"predicted": before, "calibrated": after}
    return {"stage 1": stage1, **({"refined": before} if refined else {}), "calibrated": after}


def _diagram(probabilities: np.ndarray, truth: np.ndarray, regions: bool) -> Reliability:
    if regions:
        return reliability(probabilities, truth.astype(bool))
    return reliability(probabilities.max(0), probabilities.argmax(0) == truth)


def _areas(
    measured: Sequence[Measured], patients: Sequence[str], groups: np.ndarray, structures: Sequence[str]
) -> dict[str, Any]:
    """Compute quantile and cross-validated coverage per structure, from completely labeled cases."""
    known = [i for i, m in enumerate(measured) if np.isfinite(m.true).all()]
    unit = np.array([measured[i].unit for i in known])
    whose = [patients[i] for i in known]
    areas = {}
    for number, name in enumerate(structures):
        true = np.array([measured[i].true[number] for i in known])
        predicted = np.array([measured[i].predicted[number] for i in known])
        areas[name] = {
            "level": LEVEL,
            "quantile": _or_none(area_quantile(true, predicted, unit, LEVEL, whose)),
            "coverage": _or_none(
                cross_validated_coverage(true, predicted, unit, groups[known], LEVEL, whose)
            ),
        }
    return areas


def _or_none(value: float) -> float | None:
    """JSON has neither inf nor NaN."""
    return float(value) if np.isfinite(value) else None


def _store(fitted: Mapping[str, Any], plans_file: Path) -> None:
    plans = json.loads(plans_file.read_text(encoding="utf-8"))
    stored = stored_in(plans)
    others = [c for c in stored.get("calibrations", []) if kind_of(c["kind"]) != fitted["kind"]]
    save_json(with_stored(plans, **{**stored, "calibrations": [*others, fitted]}), plans_file)
