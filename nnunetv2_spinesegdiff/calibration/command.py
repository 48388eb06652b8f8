"""`spinesegdiff calibrate`: find model and cases, calibrate, and report the result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from math import exp
from pathlib import Path

import torch

from ..environment import folder_of
from ..errors import UserError
from ..inference.flags import sampling_choices
from ..inference.memory import keep_freed_memory
from ..inference.settings import PredictionSettings
from ..preflight import name_of_dataset
from .calibrate import LEVEL, Fitted, calibrate
from .cases import HeldOutCases


def run_calibration(options: argparse.Namespace) -> int:
    """Calibrate as the words of the command say; exit status 1 where a case was left out.

    Raises:
        UserError: model, folds or cases are not there, or the flags ask for what cannot be done.
    """
    from ..plots.reliability import draw_reliability  # matplotlib takes a second to load

    dataset = name_of_dataset(options.d, "calibration needs the dataset that the model was trained on")
    model = folder_of("nnUNet_results") / dataset / f"{options.tr}__{options.p}__{options.c}"
    keep_freed_memory()
    fitted = calibrate(
        model,
        options.f or trained_folds(model, options.chk),
        HeldOutCases.of_dataset(dataset),
        PredictionSettings(refine=not options.no_refine, **sampling_choices(options)),
        device=torch.device(options.device),
        mirroring=not options.disable_tta,
        checkpoint=options.chk,
        num_processes=options.np,
    )
    diagram = options.o or model / "reliability.png"
    draw_reliability(fitted.diagrams, diagram)
    print(report(fitted))
    print(f"\nStored in {model / 'plans.json'}; diagram: {diagram}")
    print(
        "It is used by predictions with the same options and at least one SpineSegDiff option, for example "
        "--refine"
    )
    for failure in fitted.failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if fitted.failures else 0


def trained_folds(model: Path, checkpoint: str) -> list[int]:
    """Find the finished folds of a model. Fold "all" is left out, because it has no held-out cases.

    Raises:
        UserError: there is none.
    """
    folds = sorted(
        int(path.parent.name.removeprefix("fold_"))
        for path in model.glob(f"fold_*/{checkpoint}")
        if path.parent.name != "fold_all"
    )
    if not folds:
        raise UserError(
            model, f"no trained fold with {checkpoint}", "check -d, -tr, -p and -c, or train it first"
        )
    return folds


def report(fitted: Fitted) -> str:
    """Write the result of a calibration as text of several lines."""
    stored = fitted.stored
    folds = ", ".join(map(str, stored["folds"]))
    lines = [f"\n{stored['cases']} validation cases of {stored['patients']} patient(s), fold(s) {folds}\n"]
    lines += [f"{'':24s}temperature"]
    lines += [f"{name:24s}{t:.2f}" for name, t in zip(fitted.heads, stored["temperatures"], strict=True)]
    lines += ["", f"{'':24s}expected calibration error within 10 pixels of a structure"]
    lines += [f"{name:24s}{_as_text(e)}" for name, e in stored["expected_calibration_error"].items()]
    lines += ["", f"{'':24s}true area within a factor of    held in cross-validation"]
    lines += [_area_as_text(name, area) for name, area in stored["areas"].items()]
    if any(area["quantile"] is not None for area in stored["areas"].values()):
        lines += [f"{'':24s}in about {LEVEL:.0%} of new cases, cross-conformal over patients"]
    return "\n".join(lines)


def _area_as_text(name: str, area: Mapping[str, float | None]) -> str:
    quantile, coverage = area["quantile"], area["coverage"]
    if quantile is None:
        return f"{name:24s}no bounds: at least {round(LEVEL / (1 - LEVEL))} patients are needed"
    share = "too few patients" if coverage is None else f"{coverage:.0%} of cases"
    return f"{name:24s}{exp(quantile):<32.3f}{share}"


def _as_text(value: float | None) -> str:
    return "too few cases" if value is None else f"{value:.4f}"
