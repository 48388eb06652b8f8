"""Cores, memory, disks and devices."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from .findings import GB, Seen, counted, ok, ok_if, one_line, problem, warning

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
SHARED = Path("/dev/shm")
CPUINFO = Path("/proc/cpuinfo")
PINNING = ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def usable_cores() -> int:
    """Return the CPU cores that this process may use, by its affinity and the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text(encoding="utf-8").split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(cores, 1)


def free_memory() -> float | None:
    """Return the free main memory of the machine or container in bytes; None if it is unknown."""
    free = []
    with suppress(OSError, ValueError, IndexError):
        lines = [line.split() for line in MEMINFO.read_text(encoding="utf-8").splitlines()]
        free += [float(line[1]) * 1024 for line in lines if line and line[0] == "MemAvailable:"]
    with suppress(OSError, ValueError):
        limit, used = (
            (CGROUP / f"memory.{name}").read_text(encoding="utf-8").strip() for name in ("max", "current")
        )
        if limit != "max":
            free.append(float(limit) - float(used))
    if not free:
        with suppress(OSError, ValueError):
            free.append(float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    return min(free) if free else None


def check_memory() -> Iterator[Seen]:
    """Free main memory."""
    free = free_memory()
    if free is None:
        yield ok("the system does not report its free memory")
        return
    seen = f"{free / GB:.1f} GB of main memory are free"
    few = "close other programs, or predict with -npp 1 -nps 1"
    yield _amount(free, seen, (GB, "close other programs: a prediction needs 2 GB and more"), (4 * GB, few))


def check_disks() -> Iterator[Seen]:
    """Free space for results, temporary files, and what processes of a training share."""
    results = os.environ.get("nnUNet_results")
    if results and Path(results).is_dir():
        yield _space("nnUNet_results", results)
    try:
        yield _space("temporary files", tempfile.gettempdir())
    except FileNotFoundError as error:
        yield problem(f"temporary files: {error}", "export TMPDIR=/a/folder that is writable")
    if SHARED.is_dir() and (size := shutil.disk_usage(SHARED).total) < GB:
        seen = f"{SHARED} has {size / GB:.2f} GB, too little for a training"
        yield warning(seen, "start the container with --ipc=host, or --shm-size=8g")


def _space(purpose: str, folder: str) -> Seen:
    free = shutil.disk_usage(folder).free
    seen = f"{free / GB:.1f} GB are free for {purpose} ({folder})"
    few = "free some space: models and scans take some GB"
    return _amount(free, seen, (0.1 * GB, "free some space"), (2 * GB, few))


def _amount(free: float, seen: str, little: tuple[float, str], few: tuple[float, str]) -> Seen:
    """Judge free bytes by the limits below which they are a problem or a warning, each with its advice."""
    if free < little[0]:
        return problem(seen, little[1])
    return ok_if(free >= few[0], seen, few[1], "warning")


def check_torch() -> Iterator[Seen]:
    """A torch that cannot be imported. The following checks need it."""
    try:
        import torch  # noqa: F401
    except Exception as error:
        yield problem(f"torch does not load: {one_line(error)}", "pip install --force-reinstall torch")


def is_available(device: str) -> bool:
    """Return whether torch can use cpu, cuda or mps."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if device == "mps":
            return torch.backends.mps.is_available()
        return device == "cpu" or torch.cuda.is_available()


def best_device() -> str:
    """Return the first of cuda, mps and cpu that is available."""
    return next(device for device in ("cuda", "mps", "cpu") if is_available(device))


def check_chosen(device: str | None) -> Iterator[Seen]:
    """A device that was asked for but is not available."""
    if device and not is_available(device):
        yield problem(f"no {device.upper()} device was found", "choose another -device, cpu for example")


def has_bfloat16(device: str) -> bool:
    """Return whether predictions accept `--precision bfloat16` on a device."""
    import torch

    from ..inference.settings import check_precision

    try:
        check_precision("bfloat16", torch.device(device))
    except UserError:
        return False
    return device != "mps"


def check_cpu() -> Iterator[Seen]:
    """The processor, and how many of its cores torch uses."""
    import torch

    cores, threads = usable_cores(), torch.get_num_threads()
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    name = " ".join(names[0].split()) if names else platform.processor() or platform.machine()
    bfloat16 = "with bfloat16" if has_bfloat16("cpu") else "without bfloat16"
    seen = f"{name}, {bfloat16}: {counted(threads, 'thread')} on {counted(cores, 'core')}"
    if threads > cores:
        yield warning(f"{seen}, and the threads wait for each other", f"export OMP_NUM_THREADS={cores}")
    elif cores > 1 and (threads == 1 or threads * 2 < cores):
        advice = f"unset OMP_NUM_THREADS MKL_NUM_THREADS, or export OMP_NUM_THREADS={cores}"
        yield warning(f"{seen}, the others are not used", advice)
    else:
        yield ok(seen)


def check_threading() -> Iterator[Seen]:
    """Variables of OpenMP that slow torch down, or that it does not understand."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = os.environ.get(variable)
        if value is not None and not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", value):
            yield warning(f"{variable}={value} is not a number", f"unset {variable}")
    for variable in PINNING:
        value = os.environ.get(variable, "").strip()
        if value and value.lower() not in ("false", "none", "disabled"):
            seen = f"{variable}={value} binds threads to cores, those of all processes to the same ones"
            yield warning(seen, f"unset {variable}")


def check_cuda() -> Iterator[Seen]:
    """NVIDIA's cards: name and memory, or why torch does not find them."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            seen = f"cuda:{index} is {name}, {free / GB:.1f} of {total / GB:.1f} GB are free"
            advice = "end other programs on it (nvidia-smi lists them)"
            yield ok_if(free >= 4 * GB, seen, advice, "warning")
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        seen = f"nvidia-smi is installed, but torch {torch.__version__} was built without CUDA"
        yield warning(seen, "install a torch with CUDA: https://pytorch.org/get-started/locally")
    elif shutil.which("nvidia-smi"):
        reason = " ".join(str(caught[0].message).split())[:200] if caught else "torch gives no reason"
        yield warning(
            f"nvidia-smi is installed, but torch with CUDA {torch.version.cuda} finds no card: {reason}",
            "update the driver if nvidia-smi reports an older CUDA, or install a torch for that CUDA; start "
            "containers with --gpus all",
        )


def check_mps() -> Iterator[Seen]:
    """Apple's graphics processor."""
    if is_available("mps"):
        yield ok("mps is available")
