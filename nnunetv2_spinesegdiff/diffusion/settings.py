"""Settings of Algorithm 1, with the checks of their values, and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from .ddim import PREDICTION_TYPES
from .fusion import FUSIONS
from .schedules import SCHEDULES, alphas_cumprod_of

EVERYTHING, STAGE1, NOTHING = "everything", "stage 1", "nothing"
STARTS = ("presegmentation", "noise")
MOST_SIGNAL = 0.01
"""Chains can start from noise if alpha_bar at the end of the schedule is below this value."""

_REAL = ("eta", "stage1_weight")
_WHOLE = ("num_train_timesteps", "t_start", "ddim_steps", "num_samples", "fusion_steps", "seed")


def plain_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the settings of a sampler: counts to `int`, other numbers to `float`.

    Numbers of other libraries, such as NumPy, are accepted. True and False are rejected.

    Raises:
        ValueError: a value is not a number. The message states which one.
    """
    return {name: _plain(name, value) for name, value in values.items()}


def _plain(name: str, value: Any) -> Any:
    if name in _WHOLE:
        if isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
        raise ValueError(f"{name} = {value!r} is not a whole number")
    if name in _REAL:
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ValueError(f"{name} = {value!r} is not a number")
        return float(value)
    return value


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of the sampler (paper Algorithm 1).

    Attributes:
        schedule: "cosine" (for chains from a presegmentation) or "linear" (for chains from noise).
        num_train_timesteps: N, the length of the schedule.
        t_start: T, the step up to which noise is added to the presegmentation, 1 to N. T = 30 of N = 1000
            adds little noise. T = 1 of it adds next to none. N = 30 and T = 30 is a complete
            schedule of 30 steps.
        ddim_steps: n, network evaluations per chain, 1 to T.
        num_samples: S, number of chains, at least 1.
        fusion_steps: T_s, how many of the last steps are fused, 1 to n.
        eta: stochasticity of DDIM, 0 to 1.
        seed: seed of the noise.
        start: "presegmentation" or "noise". Chains from noise need T = N, and an N large enough that the
            schedule ends with noise only.
        prediction_type: "sample" (the network predicts logits of the clean mask) or "epsilon" (the noise).
        fusion: how steps and chains are combined into one segmentation, a key of `fusion.FUSIONS`.
        stage1_weight: w, 0 to below 1. The result's probabilities are w times those of stage 1 plus 1 - w
            times the refined ones. It must be 0 for chains from noise.

    Raises:
        ValueError: a value is not a number or is outside the limits above. The message states which one.

    Examples:
        >>> settings = SamplerSettings(num_samples=15, ddim_steps=10, fusion_steps=10)
        >>> settings.t_start, settings.schedule
        (30, 'cosine')
        >>> SamplerSettings(ddim_steps=40)
        Traceback (most recent call last):
        ValueError: ddim_steps = 40 is outside 1..t_start = 1..30
    """

    schedule: str = "cosine"
    num_train_timesteps: int = 1000
    t_start: int = 30
    ddim_steps: int = 2
    num_samples: int = 1
    fusion_steps: int = 2
    eta: float = 0.0
    seed: int = 0
    start: str = "presegmentation"
    prediction_type: str = "sample"
    fusion: str = "exponential"
    stage1_weight: float = 0.0

    def __post_init__(self) -> None:
        for name, value in plain_numbers(vars(self)).items():
            object.__setattr__(self, name, value)
        for name, known in (
            ("schedule", SCHEDULES),
            ("start", STARTS),
            ("prediction_type", PREDICTION_TYPES),
            ("fusion", tuple(FUSIONS)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} = {getattr(self, name)} is outside {' | '.join(known)}")
        last_only = FUSIONS[self.fusion].last_step_only
        bounds = [
            (1 <= self.t_start <= self.num_train_timesteps, "t_start", f"1..{self.num_train_timesteps}"),
            (1 <= self.ddim_steps <= self.t_start, "ddim_steps", f"1..t_start = 1..{self.t_start}"),
            (
                1 <= self.fusion_steps <= self.ddim_steps,
                "fusion_steps",
                f"1..ddim_steps = 1..{self.ddim_steps}",
            ),
            (
                self.start != "noise" or self.t_start == self.num_train_timesteps,
                "t_start",
                f"{self.num_train_timesteps}, where chains from noise begin",
            ),
            (
                self.fusion_steps == 1 or not last_only,
                "fusion_steps",
                f"1: {self.fusion} takes the last step",
            ),
            (
                self.prediction_type == "sample" or not FUSIONS[self.fusion].needs_logits,
                "fusion",
                "those that need no logits; a network that predicts noise has none",
            ),
            (
                self.start != "noise" or self._signal_left() < MOST_SIGNAL,
                "num_train_timesteps",
                f"those at whose end the {self.schedule} schedule leaves noise only (alpha_bar below "
                f"{MOST_SIGNAL}); chains that start from noise need that",
            ),
            (self.num_samples >= 1, "num_samples", "1, 2, ..."),
            (0 <= self.eta <= 1, "eta", "[0, 1]"),
            (
                0 <= self.stage1_weight < 1,
                "stage1_weight",
                "[0, 1); stage 1 alone is a prediction without refinement",
            ),
            (
                self.start != "noise" or self.stage1_weight == 0,
                "stage1_weight",
                "0: chains that start from noise have no stage 1",
            ),
        ]
        for holds, name, allowed in bounds:
            if not holds:
                raise ValueError(f"{name} = {getattr(self, name)} is outside {allowed}")

    def changed(self, **stated: Any) -> SamplerSettings:
        """Return a copy with other values.

        If `ddim_steps` or `fusion_steps` is not stated, it is reduced to what the other values allow.

        Args:
            stated: new values by name.

        Returns:
            New settings.

        Raises:
            ValueError: a value is not a number or is out of its limits.

        Examples:
            >>> SamplerSettings(ddim_steps=10, fusion_steps=10).changed(t_start=5).ddim_steps
            5
        """
        values = {**vars(self), **plain_numbers(stated)}
        for name, bound in (("ddim_steps", "t_start"), ("fusion_steps", "ddim_steps")):
            if name not in stated:
                values[name] = max(1, min(values[name], values[bound]))
        return SamplerSettings(**values)

    def _signal_left(self) -> float:
        return float(self.alphas_cumprod()[-1]) if self.num_train_timesteps >= 1 else 1.0

    def alphas_cumprod(self) -> Tensor:
        """Compute the schedule.

        Returns:
            alphas_cumprod, shape (N + 1,), float64, see `schedules`.
        """
        return alphas_cumprod_of(self.schedule, self.num_train_timesteps)


@dataclass(frozen=True)
class Preset:
    """A speed/quality preset.

    Attributes:
        num_samples: S of the sampler.
        ddim_steps: n of the sampler. All n steps are fused.
        mirrored: what is predicted on mirrored copies of the input. "everything": every copy has its own
            chains. "stage 1": its mean over the copies is refined once. "nothing": there are no copies.
    """

    num_samples: int
    ddim_steps: int
    mirrored: str = EVERYTHING

    def applied_to(self, settings: SamplerSettings) -> SamplerSettings:
        """Return `settings` with the numbers of this preset, at most as many steps as `t_start`."""
        return settings.changed(
            num_samples=self.num_samples,
            ddim_steps=(steps := min(self.ddim_steps, settings.t_start)),
            fusion_steps=steps,
        )


PRESETS = {
    "fast": Preset(num_samples=1, ddim_steps=1, mirrored=NOTHING),
    "balanced": Preset(num_samples=1, ddim_steps=2, mirrored=STAGE1),
    "paper": Preset(num_samples=15, ddim_steps=10),
}
"""The paper's is S = 15 and T_s = 10 (its section 3.3)."""
