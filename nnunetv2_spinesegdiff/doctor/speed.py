"""How long a slice takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from . import machine
from .findings import Seen, ok, one_line, problem, warning

if TYPE_CHECKING:
    import torch

FEATURES = (32, 64, 128, 256, 512, 512, 512)
"""Of the seven stages that nnU-Net plans for slices of 320 x 320."""
MIRRORED = 4
FAST = 0.54
"""Time of `--preset fast`, relative to stage 1 on all mirrored copies (benchmarks/speed.md)."""
SLICES = 15
SLOW = 5.0
"""Seconds for a slice above which a prediction takes long."""
UNDISTURBED = 0.7
"""Threads that wait for each other spin: alone on their cores they take nearly all of the time."""


def check_speed(
    device: str | None, *, seconds: float = 2.0, size: int = 320, features: Sequence[int] = FEATURES
) -> Iterator[Seen]:
    """Time of the fastest forward within some seconds, and the resulting time for a scan.

    Args:
        device: cpu, cuda or mps; None for the best one that is available.
        seconds: how long to go on; at least one forward is made.
        size: pixels along both axes of a slice.
        features: of the network's stages.
    """
    device = device or machine.best_device()
    if not machine.is_available(device):
        return
    try:
        best, undisturbed = best_time(_forward(device, size, features), seconds)
    except Exception as error:
        advice = "choose another -device" if device != "cpu" else "reinstall torch"
        yield problem(f"the network does not run on {device}: {one_line(error)}", advice)
        return
    fast = best * MIRRORED * FAST
    halved = device == "cpu" and machine.has_bfloat16(device)
    seen = (
        f"a network of full width takes {duration(best)} on {device} for {size} x {size} pixels, with "
        f"--preset fast about {duration(fast)} for a slice and {duration(fast * SLICES)} for {SLICES} slices"
        f"{', about half with --precision bfloat16' if halved else ''}"
    )
    if device == "cpu" and not undisturbed:
        advice = "wait until they end, or export OMP_NUM_THREADS=1: threads that wait for each other are slow"
        yield warning(f"{seen}; but other programs are computing on these cores", advice)
    elif fast > SLOW:
        faster = "--precision bfloat16" if halved else "a machine with a graphics card"
        yield warning(seen, f"the bundled model is smaller and faster; for your own models, use {faster}")
    else:
        yield ok(seen)


def best_time(forward: Callable[[], None], seconds: float) -> tuple[float, bool]:
    """Time the calls that fit into some seconds.

    The first call, which sets things up, counts only if it leaves no time for another.

    Returns:
        Seconds of the fastest call, and whether the threads had their cores for themselves: they took at
        least `UNDISTURBED` of the processor time that was available to them.
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


def _forward(device: str, size: int, features: Sequence[int]) -> Callable[[], None]:
    """Return a forward of a network with random weights, in nnU-Net's precision on that device."""
    import torch

    from ..inference.memory import keep_freed_memory

    keep_freed_memory()  # as predictions do
    network = planned_network(features).to(device).eval()
    image = torch.randn(1, 1, size, size, device=device)

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device, enabled=device == "cuda"):
            network(image)
        if device == "cuda":
            torch.cuda.synchronize()
        elif device == "mps":
            torch.mps.synchronize()

    return forward


def planned_network(features: Sequence[int]) -> torch.nn.Module:
    """Return the network that nnU-Net plans for lumbar slices, with random weights."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    strides = [1] + [2] * (len(features) - 1)
    norm = {"norm_op": torch.nn.InstanceNorm2d, "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
    nonlin = {"nonlin": torch.nn.LeakyReLU, "nonlin_kwargs": {"inplace": True}}
    shape = (1, len(features), features, torch.nn.Conv2d, 3, strides, 2, 4, 2)
    return PlainConvUNet(*shape, conv_bias=True, **norm, **nonlin)


def duration(seconds: float) -> str:
    """Return `140 ms`, `0.8 s`, `12 s` or `4 min`."""
    if seconds < 0.5:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
