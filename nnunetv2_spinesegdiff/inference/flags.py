"""The flags of a prediction, for every command that predicts."""

from __future__ import annotations

import argparse
from typing import Any

SAMPLER = {
    "num_samples": (int, "S", "chains whose logits are averaged"),
    "t_start": (
        int,
        "T",
        "step up to which noise is added to the presegmentation, at most the trained depth",
    ),
    "ddim_steps": (int, "n", "denoising steps of a chain, 1 to T"),
    "fusion_steps": (int, "T_s", "number of last steps that are fused, 1 to n"),
    "eta": (float, "ETA", "stochasticity of a step, 0 (DDIM) to 1"),
    "seed": (int, "N", "seed of the noise"),
    "stage1_weight": (float, "W", "weight of stage 1 in the mean with the refined result, 0 to below 1"),
}
PRESETS = {
    "fast": "one step, and no mirrored copies",
    "balanced": "two steps, from stage 1's mean over the mirrored copies",
    "paper": "15 chains of ten steps for every mirrored copy",
}


MAPS = {
    "error": "the probability that the label is wrong (1 - p_max)",
    "paper": "equation 5, the largest entropy of the structures (IISDM: variance)",
}


def add_map_flag(group: argparse._ActionsContainer) -> None:
    """Add the option that chooses the map. Not given, it has no attribute, and the default applies."""
    choices = "; ".join(f"{name}: {text}" for name, text in MAPS.items())
    group.add_argument(
        "--uncertainty_map",
        choices=list(MAPS),
        help=f"What the uncertainty map of a scan shows. {choices}. The default is error.",
        default=argparse.SUPPRESS,
    )


def add_sampling_flags(group: argparse._ActionsContainer) -> None:
    """Add the options of the sampler. Those not given have no attribute, and the model's values apply."""
    absent: dict[str, Any] = {"default": argparse.SUPPRESS}
    presets = "; ".join(f"{name}: {text}" for name, text in PRESETS.items())
    group.add_argument("--preset", choices=list(PRESETS), help=f"Speed/quality preset. {presets}.", **absent)
    for name, (kind, metavar, text) in SAMPLER.items():
        group.add_argument(
            f"--{name}", type=kind, metavar=metavar, help=f"{text[0].upper()}{text[1:]}.", **absent
        )
    group.add_argument(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        help="auto is float16 on CUDA and float32 elsewhere, as in nnU-Net. bfloat16 takes about half "
        "the time on CPUs that support it (AMX, AVX512-BF16) and changes about a dozen pixels.",
        **absent,
    )


def sampling_choices(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `PredictionSettings` that the flags of `add_sampling_flags` state."""
    given = vars(options)
    chosen: dict[str, Any] = {name: given[name] for name in ("preset", "precision") if name in given}
    changes = {name: given[name] for name in SAMPLER if name in given}
    return {**chosen, **({"changes": changes} if changes else {})}
