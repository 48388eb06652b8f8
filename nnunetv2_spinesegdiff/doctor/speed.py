"""How long a slice takes here: the network that nnU-Net plans for lumbar slices, run for two seconds."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence

from .devices import has_bfloat16
from .finding import Finding

TOPIC = "speed"
FEATURES = (32, 64, 128, 256, 512, 512, 512)
"""Of the seven stages that nnU-Net plans for slices of 320 x 320."""
MIRRORED = 4
FAST = 1.4
"""Time of `--preset fast`, that of stage 1 on all mirrored copies being 1 (benchmarks/speed.md)."""
SLICES = 15
SLOW = 5.0
"""Seconds a slice from which on a user should know that it takes long."""
UNDISTURBED = 0.7
"""Threads that wait for each other spin: alone on their cores they take nearly all of the time."""


def check_speed(
    device: str, *, seconds: float = 2.0, size: int = 320, features: Sequence[int] = FEATURES
) -> Finding:
    """The best time of the forwards that fit into some seconds, and what a scan takes by it.

    Args:
        device: cpu, cuda or mps.
        seconds: how long to go on; one forward is made in any case.
        size: pixels along both axes of a slice.
        features: of the network's stages.
    """
    try:
        best, undisturbed = best_time(_forward(device, size, features), seconds)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return Finding(
            "problem",
            TOPIC,
            f"the network does not run on {device}: {type(error).__name__}: {reason}",
            "choose another -device" if device != "cpu" else "install torch anew",
        )
    halved = device == "cpu" and has_bfloat16(device)
    seen = _in_words(best, device, size) + (", about half with --precision bfloat16" if halved else "")
    if device == "cpu" and not undisturbed:
        return Finding(
            "warning",
            TOPIC,
            f"{seen}; but other programs are computing on these cores",
            "wait for them, or export OMP_NUM_THREADS=1: threads that wait for each other are slow",
        )
    if best * MIRRORED * FAST > SLOW:
        faster = "--precision bfloat16" if halved else "a machine with a graphics card"
        return Finding("warning", TOPIC, seen, f"{faster}, if that is too slow for you")
    return Finding("ok", TOPIC, seen)


def best_time(forward: Callable[[], None], seconds: float) -> tuple[float, bool]:
    """Time the calls that fit into a while.

    The first call, which sets things up, counts only where it leaves no time for another.

    Returns:
        Seconds of the fastest call, and whether the threads had their cores for themselves: they took at
        least `UNDISTURBED` of the processor time that there was for them.
    """
    import torch

    times: list[float] = []
    spent, taken = 0.0, time.process_time()
    while not times or spent + min(times) <= seconds:
        started = time.perf_counter()
        forward()
        times.append(time.perf_counter() - started)
        spent += times[-1]
    share = (time.process_time() - taken) / (spent * torch.get_num_threads())
    return min(times[1:] or times), share >= UNDISTURBED


def _in_words(best: float, device: str, size: int) -> str:
    fast = best * MIRRORED * FAST
    return (
        f"a forward of a slice of {size} x {size} takes {duration(best)} on {device}; with --preset fast a "
        f"slice takes about {duration(fast)}, a scan of {SLICES} slices {duration(fast * SLICES)}"
    )


def _forward(device: str, size: int, features: Sequence[int]) -> Callable[[], None]:
    """One forward of a network with random weights, in nnU-Net's own precision on that device."""
    import torch

    from ..inference.memory import keep_freed_memory

    with contextlib.redirect_stdout(io.StringIO()):
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    keep_freed_memory()  # as predictions do
    network = get_network_from_plans(*planned_architecture(features), 1, 4, deep_supervision=False)
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


def planned_architecture(features: Sequence[int]) -> tuple[str, dict, list[str]]:
    """Class, arguments, and which of these are to be imported, as nnU-Net plans them for lumbar slices."""
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


def duration(seconds: float) -> str:
    """`140 ms`, `0.8 s`, `12 s`, `4 min`."""
    if seconds < 0.5:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
