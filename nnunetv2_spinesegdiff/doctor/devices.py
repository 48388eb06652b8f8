"""What torch can compute on. Needs a torch that loads: `check_torch` is asked first."""

from __future__ import annotations

import os
import platform
import re
import shutil
import warnings
from pathlib import Path

from ..errors import UserError
from ..preflight import check_device
from .finding import Finding
from .resources import GB, usable_cores

TOPIC = "device"
CPUINFO = Path("/proc/cpuinfo")
PINNING = ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def check_torch() -> list[Finding]:
    """A torch that does not load, told in one line."""
    try:
        import torch  # noqa: F401
    except Exception as error:
        reason = " ".join(str(error).split())
        return [
            Finding(
                "problem",
                TOPIC,
                f"torch does not load: {type(error).__name__}: {reason}",
                "pip install --force-reinstall torch",
            )
        ]
    return []


def best_device() -> str:
    """cuda, mps or cpu: the first that is there."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_chosen(device: str) -> list[Finding]:
    """A device that was asked for and is not there."""
    try:
        check_device(device)
    except UserError as error:
        seen, _, advice = str(error).partition("; ")
        return [Finding("problem", TOPIC, seen, advice or "choose another -device")]
    return []


def has_bfloat16(device: str) -> bool:
    """Whether `--precision bfloat16` is taken on that device."""
    import torch

    from ..inference.settings import check_precision

    try:
        check_precision("bfloat16", torch.device(device))
    except UserError:
        return False
    return device != "mps"


def check_cpu() -> list[Finding]:
    """The processor, and how many of its cores torch uses."""
    import torch

    cores, threads = usable_cores(), torch.get_num_threads()
    bfloat16 = "with bfloat16" if has_bfloat16("cpu") else "without bfloat16"
    seen = f"{_name_of_cpu()}, {bfloat16}: {_count(threads, 'thread')} on {_count(cores, 'core')}"
    if threads > cores:
        return [
            Finding(
                "warning",
                TOPIC,
                f"{seen}, and the threads wait for each other",
                f"export OMP_NUM_THREADS={cores}",
            )
        ]
    if cores > 1 and (threads == 1 or threads * 2 < cores):
        return [
            Finding(
                "warning",
                TOPIC,
                f"{seen}, though there are more",
                f"unset OMP_NUM_THREADS MKL_NUM_THREADS, or export OMP_NUM_THREADS={cores}",
            )
        ]
    return [Finding("ok", TOPIC, seen)]


def check_threading() -> list[Finding]:
    """Variables of OpenMP that slow torch down, or that it does not understand."""
    findings = []
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = os.environ.get(variable)
        if value is not None and not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", value):
            findings.append(
                Finding("warning", TOPIC, f"{variable}={value} is no number", f"unset {variable}")
            )
    for variable in PINNING:
        value = os.environ.get(variable, "").strip()
        if value and value.lower() not in ("false", "none", "disabled"):
            findings.append(
                Finding(
                    "warning",
                    TOPIC,
                    f"{variable}={value} holds threads to their cores, those of all processes to the same",
                    f"unset {variable}",
                )
            )
    return findings


def check_cuda() -> list[Finding]:
    """NVIDIA's cards: name and memory, or why torch does not see them."""
    import torch

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if there:
        return [_card(index) for index in range(torch.cuda.device_count())]
    if shutil.which("nvidia-smi") is None:
        return []
    if torch.version.cuda is None:
        return [
            Finding(
                "warning",
                TOPIC,
                f"nvidia-smi is there, but torch {torch.__version__} was built without CUDA",
                "install a torch with CUDA: https://pytorch.org/get-started/locally",
            )
        ]
    reason = " ".join(str(told[0].message).split())[:200] if told else "torch does not tell why"
    return [
        Finding(
            "warning",
            TOPIC,
            f"nvidia-smi is there, but torch with CUDA {torch.version.cuda} finds no card: {reason}",
            "update the driver if nvidia-smi tells of an older CUDA, or install a torch for that CUDA; start "
            "containers with --gpus all",
        )
    ]


def check_mps() -> list[Finding]:
    """Apple's processor graphics."""
    import torch

    return [Finding("ok", TOPIC, "mps is there")] if torch.backends.mps.is_available() else []


def _card(index: int) -> Finding:
    import torch

    free, total = torch.cuda.mem_get_info(index)
    name = torch.cuda.get_device_name(index)
    seen = f"cuda:{index} is {name}, {free / GB:.1f} of {total / GB:.1f} GB are free"
    if free < 4 * GB:
        return Finding("warning", TOPIC, seen, "end other programs on it (nvidia-smi lists them)")
    return Finding("ok", TOPIC, seen)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _name_of_cpu() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        names = []
    return " ".join(names[0].split()) if names else platform.processor() or platform.machine()
