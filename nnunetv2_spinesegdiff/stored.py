"""Facts about a trained model beyond nnU-Net's plans, stored in a separate part of its plans.json.

nnU-Net ignores the part, copies it into checkpoints and zips, and writes it again at every training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import UserError

KEY = "spinesegdiff"


def stored_in(plans: Mapping[str, Any]) -> dict[str, Any]:
    """Our part of the plans; empty where there is none.

    `sampler`; `presegmentations`, the trainer of the out-of-fold ones that training used, or None; after
    calibrating, `calibrations`; in an exported model, `trainer`, of which its checkpoints say nothing.
    """
    return dict(plans.get(KEY, {}))


def with_stored(plans: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    """A copy of the plans in which our part has `parts` and nothing else."""
    return {**plans, KEY: parts}


def check_sagittal(plans: dict[str, Any], configuration: str) -> None:
    """Raises UserError where the slices of a 2d configuration are not those that the dataset's cases hold.

    nnU-Net takes the axis of the largest spacing for that between slices. If slices are closer together
    than their pixels, it trains on planes across them.
    """
    if configuration.startswith("2d") and plans.get("transpose_forward", (0,))[0] != 0:
        spacing = plans["original_median_spacing_after_transp"]
        raise UserError(
            plans["dataset_name"],
            "nnU-Net planned 2d slices across the sagittal ones, because these are closer together than "
            f"their pixels (median spacing {spacing} mm, largest first)",
            "convert single slices (`spinesegdiff convert --slices middle` or `each`) and plan again",
        )
