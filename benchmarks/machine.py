"""What a benchmark runs on, and how to wait for it."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

import torch


def synchronize(device: torch.device) -> None:
    """Wait for what a card was told to do: calls return before it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def machine(device: torch.device) -> str:
    """The card's name, or the processor's with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':')[1].strip()}, {torch.get_num_threads()} threads"
    return f"{platform.processor()}, {torch.get_num_threads()} threads"
