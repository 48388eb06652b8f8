"""Trainer names with suffixes: `nnUNetTrainerSpineSegDiff_5epochs_40iters_T100_width50`.

nnU-Net knows a training by its trainer's name alone: the name picks the class, the results folder and,
through the checkpoint, the network at prediction. So what changes a training stands in the name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from ..errors import UserError

DIFFUSION_TRAINERS = (
    "nnUNetTrainerSpineSegDiff",
    "nnUNetTrainerSpineSegDiffSagittal",
    "nnUNetTrainerSpineSegDiffFromScratch",
    "nnUNetTrainerSpineSegDiffFromNoise",
    "nnUNetTrainerSpineSegDiffNoIE",
    "nnUNetTrainerDiffUNet",
    "nnUNetTrainerIISDM",
)
TWO_STAGE_TRAINERS = DIFFUSION_TRAINERS[:3]
"""Those of them that refine what a stage 1 makes; the others start from noise."""
PLAIN_TRAINERS = ("nnUNetTrainerStage1", "nnUNetTrainerStage1Sagittal")
"""All names that `trainers` knows, for those who must not wait for torch."""


@dataclass(frozen=True)
class Suffixes:
    """Values of the suffixes of a trainer name; None for those that the name does not hold.

    Attributes:
        epochs: number of epochs.
        iters: training iterations per epoch.
        t_start: depth T to which presegmentations are noised; from noise, the length of the schedule.
        schedule_length: N, the length of the schedule; T = N where `t_start` is not stated.
        ddim_steps: n, steps of a chain in the training's own validation and in prediction without flags.
        num_samples: S, chains, likewise.
        width: features of denoiser and image encoder, percent of the planned ones.
    """

    epochs: int | None = None
    iters: int | None = None
    t_start: int | None = None
    schedule_length: int | None = None
    ddim_steps: int | None = None
    num_samples: int | None = None
    width: int | None = None


_PATTERNS = {
    "epochs": r"(\d+)epochs",
    "iters": r"(\d+)iters",
    "t_start": r"T(\d+)",
    "schedule_length": r"N(\d+)",
    "ddim_steps": r"n(\d+)",
    "num_samples": r"S(\d+)",
    "width": r"width(\d+)",
}
_KNOWN = (
    "_<n>epochs, _<n>iters (iterations per epoch), _T<depth>, _N<length>, _n<steps>, _S<chains>, "
    "_width<percent>"
)
assert set(_PATTERNS) == {f.name for f in fields(Suffixes)}


def parse_suffixes(name: str, base: str) -> Suffixes:
    """The suffixes of `name`, a trainer name that is `base` or `base` followed by `_...`.

    Raises:
        UserError: a suffix that is unknown, zero or given twice; the message lists the known ones.
    """
    found: dict[str, int] = {}
    for token in name[len(base) :].split("_")[1:]:
        matches = [(key, m) for key, pattern in _PATTERNS.items() if (m := re.fullmatch(pattern, token))]
        if not matches:
            raise UserError(
                f"trainer {name}", f"unknown suffix '_{token}'", f"known suffixes of {base}: {_KNOWN}"
            )
        key, match = matches[0]
        if key in found or int(match[1]) == 0:
            problem = "is given twice" if key in found else "must be at least 1"
            raise UserError(f"trainer {name}", f"suffix '_{token}' {problem}", f"known suffixes: {_KNOWN}")
        found[key] = int(match[1])
    return Suffixes(**found)


def has_two_stages(name: str) -> bool:
    """Whether a trainer of that name refines what a stage 1 makes."""
    return split_base(name, [*DIFFUSION_TRAINERS, *PLAIN_TRAINERS]) in TWO_STAGE_TRAINERS


def split_base(name: str, bases: list[str]) -> str | None:
    """Split a trainer name into one of `bases` and its suffixes; None if it is not one of them."""
    fitting = [base for base in bases if name == base or name.startswith(base + "_")]
    return max(fitting, key=len, default=None)
