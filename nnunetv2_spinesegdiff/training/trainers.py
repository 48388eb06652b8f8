"""Every trainer by its name, suffixes included: `trainers.nnUNetTrainerSpineSegDiff_5epochs_T100`.

A name with suffixes becomes a subclass when it is first asked for. It lives in this module, so it can be
pickled and imported like any class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .names import parse_suffixes, split_base
from .sagittal import nnUNetTrainerSpineSegDiffSagittal, nnUNetTrainerStage1Sagittal
from .suffixed import SuffixedTrainer, nnUNetTrainerStage1
from .systems import (
    nnUNetTrainerDiffUNet,
    nnUNetTrainerIISDM,
    nnUNetTrainerSpineSegDiffFromNoise,
    nnUNetTrainerSpineSegDiffNoIE,
)
from .trainer import nnUNetTrainerSpineSegDiff, nnUNetTrainerSpineSegDiffFromScratch

BASES: dict[str, type[SuffixedTrainer]] = {
    cls.__name__: cls
    for cls in (
        nnUNetTrainerSpineSegDiff,
        nnUNetTrainerSpineSegDiffSagittal,
        nnUNetTrainerSpineSegDiffFromScratch,
        nnUNetTrainerSpineSegDiffFromNoise,
        nnUNetTrainerSpineSegDiffNoIE,
        nnUNetTrainerDiffUNet,
        nnUNetTrainerIISDM,
        nnUNetTrainerStage1,
        nnUNetTrainerStage1Sagittal,
    )
}


def __getattr__(name: str) -> type[SuffixedTrainer]:
    globals()[name] = trainer = with_suffixes(name, BASES, __name__)
    return trainer


def with_suffixes(name: str, bases: Mapping[str, type[SuffixedTrainer]], module: str) -> Any:
    """The trainer of that name, a subclass of one of `bases` (by name) that is at home in `module`.

    Raises:
        AttributeError: the name is none of the bases' with suffixes.
        UserError: a suffix is unknown or impossible for this trainer.
    """
    base = split_base(name, list(bases))
    if base is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    suffixes = parse_suffixes(name, base)
    trainer: Any = type(name, (bases[base],), {"__module__": module, "suffixes": suffixes})
    try:
        trainer.check_suffixes()
    except ValueError as error:
        raise UserError(f"trainer {name}", f"{error}") from None
    return trainer
