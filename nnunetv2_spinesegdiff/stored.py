"""What a trained model says about itself beyond nnU-Net's plans: a part of its own in its plans.json.

nnU-Net ignores the part, copies it into checkpoints and zips, and writes it anew at every training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
