"""The peak of a process's memory, watched anew as often as wanted."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

import torch


def reset_peak(device: torch.device) -> float:
    """Give back what is free and start to watch the peak anew; bytes taken now."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak(device: torch.device) -> float:
    """Bytes at most since `reset_peak`; NaN where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(name: str) -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return float(line.split()[1]) * 1024
    return float("nan")
