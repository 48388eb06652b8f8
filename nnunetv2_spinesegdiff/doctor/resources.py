"""Cores, memory and disk that are free for us, in a container those of the container."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from .finding import Finding

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
SHARED = Path("/dev/shm")
GB = 1e9


def usable_cores() -> int:
    """CPU cores that this process may use: its affinity, and the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(cores, 1)


def free_memory() -> float | None:
    """Bytes of main memory that are free; None where the system does not tell."""
    free = []
    with suppress(OSError, ValueError, IndexError):
        lines = [line.split() for line in MEMINFO.read_text().splitlines()]
        free += [float(line[1]) * 1024 for line in lines if line and line[0] == "MemAvailable:"]
    with suppress(OSError, ValueError):
        limit, used = ((CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        if limit != "max":
            free.append(float(limit) - float(used))
    if not free:
        with suppress(OSError, ValueError):
            free.append(float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    return min(free) if free else None


def check_memory() -> Finding:
    free = free_memory()
    if free is None:
        return Finding("ok", "memory", "the system does not tell how much memory is free")
    seen = f"{free / GB:.1f} GB of main memory are free"
    if free < GB:
        return Finding("problem", "memory", seen, "close other programs: a prediction needs 2 GB and more")
    if free < 4 * GB:
        return Finding("warning", "memory", seen, "close other programs, or predict with -npp 1 -nps 1")
    return Finding("ok", "memory", seen)


def check_disks() -> list[Finding]:
    """Free space where results and temporary files go, and what processes of a training share."""
    findings = []
    results = os.environ.get("nnUNet_results")
    if results and Path(results).is_dir():
        findings.append(_space("nnUNet_results", Path(results)))
    try:
        findings.append(_space("temporary files", Path(tempfile.gettempdir())))
    except FileNotFoundError as error:
        findings.append(
            Finding(
                "problem", "disk", f"temporary files: {error}", "export TMPDIR=/a/folder that is writable"
            )
        )
    if SHARED.is_dir() and (size := shutil.disk_usage(SHARED).total) < GB:
        findings.append(
            Finding(
                "warning",
                "disk",
                f"{SHARED} has {size / GB:.2f} GB, too little for a training",
                "start the container with --ipc=host, or --shm-size=8g",
            )
        )
    return findings


def _space(purpose: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    seen = f"{free / GB:.1f} GB are free for {purpose} ({folder})"
    if free < 0.1 * GB:
        return Finding("problem", "disk", seen, "free some space")
    if free < 2 * GB:
        return Finding("warning", "disk", seen, "free some space: models and scans take some GB")
    return Finding("ok", "disk", seen)
