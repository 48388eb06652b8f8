"""What `spinesegdiff calibrate` stored with a model, for predictions of the same kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from ..diffusion.settings import SamplerSettings
from ..stored import stored_in

KIND = ("trainer", "checkpoint", "refine", "sampler", "mirroring", "mirror_refinement")
"""What of a prediction's record decides which calibration fits it; precision and folds do not."""


@dataclass(frozen=True)
class Calibration:
    """How far to trust a model.

    Attributes:
        temperatures: (K,), one for every segmentation head.
        area_quantiles: structure to quantile, see `uncertainty.conformal`.
    """

    temperatures: list[float]
    area_quantiles: dict[str, float]


def kind_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What decides whether a calibration fits a prediction; the seed of the noise does not.

    Fields of the sampler that a model of an earlier version does not state have their defaults.
    """
    kind = {name: record[name] for name in KIND if name in record}
    if not kind["mirroring"]:
        kind.pop("mirror_refinement", None)
    if kind["sampler"]:
        sampler = {**vars(SamplerSettings()), **kind["sampler"]}
        kind["sampler"] = {k: v for k, v in sampler.items() if k != "seed"}
    return kind


def stored_calibration(plans: Mapping[str, Any], record: Mapping[str, Any]) -> Calibration | None:
    """The calibration in a model's plans; None, and a word about it, where it is for other settings."""
    stored = stored_in(plans).get("calibrations", [])
    fitting = [calibration for calibration in stored if kind_of(calibration["kind"]) == kind_of(record)]
    if not fitting:
        if stored:
            print(
                "This model was calibrated for other settings: probabilities and maps stay as they are. "
                "`spinesegdiff calibrate` with the flags of this prediction would calibrate them."
            )
        return None
    quantiles = {
        name: inf if area["quantile"] is None else area["quantile"]
        for name, area in fitting[0]["areas"].items()
    }
    return Calibration(fitting[0]["temperatures"], quantiles)
