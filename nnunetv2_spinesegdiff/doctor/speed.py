"""How long a slice takes here: the network that nnU-Net plans for lumbar slices, run for two seconds."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Sequence

from .devices import has_bfloat16
from .finding import Finding
from .resources import usable_cores

TOPIC = "speed"
FEATURES = (32, 64, 128, 256, 512, 512, 512)
"""Of the seven stages that nnU-Net plans for slices of 320 x 320."""
MIRRORED = 4
FAST = 1.4
"""Time of `--preset fast`, that of stage 1 on all mirrored copies being 1 (benchmarks/speed.md)."""
SLICES = 15
SLOW = 5.0
"""Seconds a slice from which on a user should know that it takes long."""


def check_speed(
    device: str, *, seconds: float = 2.0, size: int = 320, features: Sequence[int] = FEATURES
) -> Finding:
    """The best time of the forwards that fit into some seconds, and what a scan takes by it.

    Args:
        device: cpu, cuda or mps.
        seconds: how long to go on; the first, slower forward and one that is timed are made in any case.
        size: pixels along both axes of a slice.
        features: of the network's stages.
    """
    try:
        forward = _forward(device, size, features)
        best = best_time(forward, seconds)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return Finding(
            "problem",
            TOPIC,
            f"the network does not run on {device}: {type(error).__name__}: {reason}",
            "choose another -device" if device != "cpu" else "install torch anew",
        )
    slice_seconds = best * MIRRORED * FAST
    seen = (
        f"a forward of a slice of {size} x {size} takes {_duration(best)} on {device}; with --preset fast a "
        f"slice takes about {_duration(slice_seconds)}, a scan of {SLICES} slices "
        f"{_duration(slice_seconds * SLICES)}"
    )
    halved = device == "cpu" and has_bfloat16(device)
    if halved:
        seen += ", and about half with --precision bfloat16"
    cores = usable_cores()
    if device == "cpu" and hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * cores:
        seen += f"; the machine is busy (load {os.getloadavg()[0]:.1f} on {cores} cores) and may be faster"
    if slice_seconds > SLOW:
        faster = "--precision bfloat16" if halved else "a machine with a graphics card"
        return Finding("warning", TOPIC, seen, f"{faster}, if that is too slow for you")
    return Finding("ok", TOPIC, seen)


def best_time(forward: Callable[[], None], seconds: float) -> float:
    """Seconds of the fastest call within a while; the first call, which sets things up, does not count."""
    forward()
    end = time.perf_counter() + seconds
    best = float("inf")
    while True:
        started = time.perf_counter()
        forward()
        now = time.perf_counter()
        best = min(best, now - started)
        if now + best > end:
            return best


def _forward(device: str, size: int, features: Sequence[int]) -> Callable[[], None]:
    """One forward of a network with random weights, in nnU-Net's own precision on that device."""
    import torch

    from ..inference.memory import keep_freed_memory

    with contextlib.redirect_stdout(io.StringIO()):
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    keep_freed_memory()  # as predictions do
    network = get_network_from_plans(*_architecture(features), 1, 4, deep_supervision=False)
    network = network.to(device).eval()
    image = torch.randn(1, 1, size, size, device=device)

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device, enabled=device == "cuda"):
            network(image)
        if device == "cuda":
            torch.cuda.synchronize()
        elif device == "mps":
            torch.mps.synchronize()

    return forward


def _architecture(features: Sequence[int]) -> tuple[str, dict, list[str]]:
    """Class, arguments, and which of these are to be imported, as in nnU-Net's plans."""
    stages = len(features)
    arguments = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * stages,
        "strides": [[1, 1]] + [[2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    network = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    return network, arguments, ["conv_op", "norm_op", "dropout_op", "nonlin"]


def _duration(seconds: float) -> str:
    """`140 ms`, `0.8 s`, `12 s`, `4 min`."""
    if seconds < 0.5:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
