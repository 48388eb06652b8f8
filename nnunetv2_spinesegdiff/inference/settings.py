"""What a user may choose about a prediction, and whether model and machine can do it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from ..diffusion.settings import EVERYTHING, PRESETS, SamplerSettings, plain_numbers
from ..errors import UserError
from ..measures import ERROR, Measure
from .flags import MAPS, SAMPLER

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of a prediction with a SpineSegDiff model.

    Attributes:
        refine: False gives stage 1 alone.
        preset: one of `PRESETS`, or None for what the model was trained with.
        changes: fields of `SamplerSettings` to set after that, those of `flags.SAMPLER`: a model was trained
            for the others.
        precision: "auto" is nnU-Net's own choice (float16 autocast on CUDA, float32 elsewhere).
        save_uncertainty: also write maps, pictures and a table of the uncertainty.
        uncertainty_map: what the map of a case shows. "error" is the probability that the label is wrong,
            1 - p_max. "paper" is equation 5, the largest entropy of the structures (IISDM: variance).

    Raises:
        UserError: the choices contradict each other, or there is no such choice.
    """

    refine: bool = True
    preset: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    precision: str = "auto"
    save_uncertainty: bool = False
    uncertainty_map: str = "error"

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise UserError(
                None, f"there is no preset {self.preset!r}", f"choose one of {', '.join(PRESETS)}"
            )
        if self.precision not in PRECISIONS:
            raise UserError(
                None, f"there is no precision {self.precision!r}", f"choose one of {', '.join(PRECISIONS)}"
            )
        if self.uncertainty_map not in MAPS:
            raise UserError(
                f"uncertainty map {self.uncertainty_map!r}", "unknown", f"choose one of {', '.join(MAPS)}"
            )
        if unknown := sorted(set(self.changes) - set(SAMPLER)):
            raise UserError(f"setting {unknown[0]!r}", "unknown", f"choose from {', '.join(SAMPLER)}")
        try:
            object.__setattr__(self, "changes", plain_numbers(self.changes))
        except ValueError as error:
            raise UserError(None, str(error)) from None
        said = (["preset"] if self.preset else []) + list(self.changes)
        if said and not self.refine:
            raise UserError(", ".join(said), "nothing is sampled without refinement", "leave one of them out")

    def measure(self, of_paper: Measure) -> Measure:
        """What the map of a case shows, for a model whose paper shows `of_paper`."""
        return ERROR if self.uncertainty_map == "error" else of_paper

    @property
    def mirrored(self) -> str:
        """What is predicted on mirrored copies, if the prediction mirrors, see `Preset`."""
        return PRESETS[self.preset].mirrored if self.preset else EVERYTHING

    def sampler(self, trained: SamplerSettings) -> SamplerSettings:
        """The sampler for a model whose own one is `trained`.

        Raises:
            UserError: a value is impossible, or T is above the depth that the model was trained to.
        """
        start = PRESETS[self.preset].applied_to(trained) if self.preset else trained
        t_start = self.changes.get("t_start", 0)
        if t_start > trained.t_start:
            suffix = "T" if t_start <= SamplerSettings().num_train_timesteps else "N"
            raise UserError(
                None,
                f"t_start {t_start} is deeper than {trained.t_start}, to which this model was trained",
                f"choose 1 to {trained.t_start}, or train with "
                f"-tr nnUNetTrainerSpineSegDiff_{suffix}{t_start}",
            )
        if trained.start == "noise" and t_start not in (0, trained.t_start):
            raise UserError(
                f"t_start {t_start}", f"chains of this model start from noise, at {trained.t_start}"
            )
        try:
            return start.changed(**self.changes)
        except ValueError as error:
            raise UserError(None, str(error)) from None


def check_precision(precision: str, device: torch.device) -> None:
    """Raises UserError where the device computes in that precision not at all, or only slower."""
    if precision == "bfloat16" and device.type == "cpu" and not _cpu_has_bfloat16():
        raise UserError("precision bfloat16", "this CPU has no bfloat16 arithmetic", "leave it out")
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise UserError("precision bfloat16", "this GPU has no bfloat16 arithmetic", "leave it out")


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16 itself: oneDNN emulates it on others, slower than float32."""
    capability = torch.backends.cpu.get_cpu_capability()
    if "AVX" in capability:
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which a network is called; the noise process computes in float32 in any of them."""
    if precision == "auto" or (precision == "float32" and device.type != "cuda"):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
