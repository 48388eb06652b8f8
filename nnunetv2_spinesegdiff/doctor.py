"""Checks of this machine and set-up, with advice for each finding."""

from __future__ import annotations

import getpass
import importlib.util
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from . import __version__
from .environment import COMMANDS, TRAINERS
from .errors import UserError

if TYPE_CHECKING:
    import torch

Level = Literal["ok", "warning", "problem"]
Seen = tuple[Level, str, str]
"""Level, what was found, and advice (empty if all is well)."""
Check = Callable[[], Iterable[Seen]]

OURS = "nnunetv2_spinesegdiff"
EVAL = 'eval "$(spinesegdiff env)"'
OWN_COMMANDS = f"{EVAL}, before nnU-Net's own commands; those of spinesegdiff do without"
GB = 1e9


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        level: "problem" if it stops work, "warning" if it stops a part of it or slows it down, or "ok".
        topic: findings of one topic are shown together.
        seen: what was found.
        advice: what to do; empty if and only if the level is "ok".

    Raises:
        ValueError: advice is missing or not needed.
    """

    level: Level
    topic: str
    seen: str
    advice: str = ""

    def __post_init__(self) -> None:
        if (self.level == "ok") == bool(self.advice):
            raise ValueError(f"{self.level}: {self.seen}: advice is {self.advice!r}")


def diagnose(device: str | None = None) -> list[Finding]:
    """Check versions, variables, commands, trainers, memory, disks and devices, and time a network.

    A check that fails is a finding. Takes about ten seconds; nothing is written or sent.

    Args:
        device: cpu, cuda or mps; None for the best one that is available.
    """
    findings = [finding for topic, check in checks() for finding in run(topic, check)]
    if broken := run("device", check_torch):
        return [*findings, *broken]
    return findings + [finding for topic, check in device_checks(device) for finding in run(topic, check)]


def stops_work(findings: Iterable[Finding]) -> bool:
    """Return whether a finding is a problem."""
    return any(finding.level == "problem" for finding in findings)


def checks() -> list[tuple[str, Check]]:
    """Return topic and check of everything that does not need torch in this process."""
    return [
        ("versions", check_versions),
        ("versions", partial(check_installed_once, OURS)),
        ("versions", partial(check_installed_once, "nnunetv2")),
        ("versions", check_leftovers),
        ("variables", check_folders),
        ("variables", check_external_trainers),
        ("commands", check_predict_command),
        ("trainers", check_trainers),
        ("memory", check_memory),
        ("disk", check_disks),
    ]


def device_checks(device: str | None) -> list[tuple[str, Check]]:
    """Return topic and check of everything that needs torch."""
    return [
        ("device", check_cpu),
        ("device", check_threading),
        ("device", check_cuda),
        ("device", check_mps),
        ("device", partial(check_chosen, device)),
        ("speed", partial(check_speed, device)),
    ]


def run(topic: str, check: Check) -> list[Finding]:
    """Run a check; if it fails, that is its finding."""
    try:
        return [Finding(level, topic, seen, advice) for level, seen, advice in check()]
    except Exception as error:
        name = getattr(getattr(check, "func", check), "__name__", topic)
        seen = f"{name} failed itself: {_one_line(error)}"
        return [Finding("warning", topic, seen, "report this with the output of spinesegdiff doctor --json")]


# --- versions --------------------------------------------------------------------------------------------


def check_versions() -> Iterator[Seen]:
    """This package, Python and the most important packages, against the requirements of this package."""
    needed, python = {}, SpecifierSet()
    try:
        installed = metadata.version(OURS)
    except metadata.PackageNotFoundError:
        advice = "pip install . in its folder, so that the command spinesegdiff is found everywhere"
        yield "warning", f"{OURS} {__version__} runs, but is not installed", advice
    else:
        needed = {r.name: r for r in map(Requirement, metadata.requires(OURS) or []) if not r.marker}
        python = SpecifierSet(metadata.metadata(OURS)["Requires-Python"])
        if installed == __version__:
            yield "ok", f"{OURS} {installed}", ""
        else:
            advice = f"pip uninstall {OURS}, as often as it finds one, and pip install . once"
            yield "warning", f"{OURS} {__version__} runs, {installed} is installed", advice
    version = ".".join(map(str, sys.version_info[:3]))
    advice = "" if version in python else f"make a virtual environment with Python {python}"
    yield "problem" if advice else "ok", f"Python {version}", advice
    for name in ("nnunetv2", "torch", "SimpleITK", "numpy"):
        requirement = needed.get(name, Requirement(name))
        advice = f'pip install "{requirement}"'
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield "problem", f"{name} is not installed", advice
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        yield "ok" if fits else "problem", f"{name} {version}", "" if fits else advice


def check_installed_once(package: str) -> Iterator[Seen]:
    """Installations of a package in addition to the one that is used.

    A clone that is installed with `pip install -e` is one installation: its record refers to it.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return
    used, others = Path(found.origin).resolve().parents[1], set()
    for distribution in metadata.distributions(name=package):
        folder = Path(str(distribution.locate_file(""))).resolve()
        source = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable = source.get("dir_info", {}).get("editable", False)
        if used != (Path(unquote(urlparse(source["url"]).path)).resolve() if editable else folder):
            others.add(folder)
    for folder in sorted(others):
        advice = f"pip uninstall {package}, as often as it finds one, and install it once"
        yield "warning", f"{package} is used from {used} and also installed in {folder}", advice


def check_leftovers() -> Iterator[Seen]:
    """What an interrupted pip left of nnU-Net or of this package."""
    folders = {Path(folder).resolve() for folder in sys.path if folder}
    for path in sorted(path for folder in folders for path in folder.glob("~nunetv2*")):
        yield "warning", f"{path} was left by an interrupted pip", "delete that folder"


# --- environment variables -------------------------------------------------------------------------------


def check_folders() -> Iterator[Seen]:
    """The folders of nnU-Net, none of which `segment` needs."""
    for variable, purpose in (
        ("nnUNet_raw", "converting and planning"),
        ("nnUNet_preprocessed", "planning and training"),
        ("nnUNet_results", "training, and predicting with -d"),
    ):
        value = os.environ.get(variable)
        if not value:
            advice = f"export {variable}=/a/folder for {purpose}; segment with a model's folder or zip"
            yield "warning", f"{variable} is not set", f"{advice} does without"
        elif not Path(value).is_dir():
            what = "a file" if Path(value).exists() else "not there"
            advice = f"make the folder, set {variable} to the right one, or unset it (it is for {purpose})"
            yield "problem", f"{variable}={value} is {what}", advice
        elif not os.access(value, os.W_OK | os.X_OK):
            advice = f"nothing, unless you mean to write there ({purpose}): then change its permissions"
            yield "warning", f"{variable}={value} can be read but not written", advice
        else:
            yield "ok", f"{variable}={value}", ""


def check_external_trainers() -> Iterator[Seen]:
    """The folders in nnUNet_extTrainer: ours, other copies of it, and folders that do not exist."""
    folders = [folder for folder in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep) if folder]
    ours = [folder for folder in folders if _same(folder, TRAINERS)]
    copies = [f for f in folders if f not in ours and (Path(f) / "spinesegdiff_trainers.py").is_file()]
    faults = [(f, "does not exist, and nnU-Net skips it") for f in folders if not Path(f).is_dir()]
    for folder, fault in [*faults, *((copy, "is of another copy of this package") for copy in copies)]:
        yield "warning", f"nnUNet_extTrainer: {folder} {fault}", f"unset nnUNet_extTrainer; {EVAL}"
    if ours:
        yield "ok", "nnUNet_extTrainer holds our trainers", ""
    elif not copies:
        state = "does not hold our trainers" if folders else "is not set"
        yield "warning", f"nnUNet_extTrainer {state}", OWN_COMMANDS


# --- commands and trainers -------------------------------------------------------------------------------

PREDICT = "nnUNetv2_predict"


def check_predict_command() -> Iterator[Seen]:
    """The prediction command on the PATH: ours or the stock one, of this environment or another."""
    found = shutil.which(PREDICT)
    if found is None:
        yield "warning", f"no {PREDICT} is on the PATH", f"{EVAL}; spinesegdiff predict does without"
        return
    if _same(found, COMMANDS / PREDICT):
        # It starts the Python of `spinesegdiff env`, or else the first one on the PATH.
        python = os.environ.get("spinesegdiff_python") or shutil.which("python3")
        if _is_of_this_environment(python):
            yield "ok", f"{PREDICT} is ours, with all flags: {found}", ""
        else:
            yield "warning", f"{PREDICT} is ours, but starts {python} of another environment", EVAL
        return
    script = Path(found).read_bytes()[:2000].decode(errors="replace")
    if OURS in script:
        yield "warning", f"{found} is of another copy of this package", EVAL
        return
    # A console script names its Python in the first line, or in the second one if the path is long.
    match = re.match(r"#!\s*(\S*python\S*)|#!/bin/sh\n'''exec' \"?([^\"\n]+?)\"? \"\$0\"", script)
    here = match and _is_of_this_environment(match[1] or match[2])
    seen = f"{found} is nnU-Net's own, of {'this' if here else 'another'} environment, without our flags"
    yield "warning", seen, f"{EVAL}; spinesegdiff predict does without"


def _is_of_this_environment(python: str | None) -> bool:
    if python is None:
        return False
    code = "import sys; print(sys.prefix)"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return _same(done.stdout.strip(), Path(sys.prefix))


TRAINER = "nnUNetTrainerSpineSegDiff"
ASK = f"""
import json, sys
sys.path[:] = [folder for folder in sys.path if folder]
from nnunetv2_spinesegdiff.environment import make_trainers_known
from nnunetv2_spinesegdiff.preflight import check_trainer
def answer():
    try:
        check_trainer({TRAINER!r})
    except Exception as error:
        return type(error).__name__ + ": " + " ".join(str(error).split())
    return ""
now = answer()
make_trainers_known()
print(json.dumps([now, answer()]))
"""


def check_trainers(seconds: float = 60) -> Iterator[Seen]:
    """Whether nnU-Net finds our trainer in this shell, and after `spinesegdiff env`, in its own process.

    Args:
        seconds: after which a process without an answer is ended.
    """
    words, null = [sys.executable, "-c", ASK], subprocess.DEVNULL
    try:
        done = subprocess.run(words, stdin=null, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        seen = f"nnU-Net did not answer within {seconds:g} s whether it finds {TRAINER}"
        yield "warning", seen, "run this again when the machine, or the disk with Python, is less busy"
        return
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        now, after = "", lines[-1]
    else:
        now, after = json.loads(done.stdout.splitlines()[-1])
    if after:
        seen = f"nnU-Net does not find {TRAINER} even after {EVAL}: {after[:200]}"
        yield "problem", seen, "install nnU-Net and this package in a new virtual environment"
    elif now:
        seen = f"nnU-Net does not find {TRAINER} in this shell, but does after {EVAL}"
        yield "warning", seen, OWN_COMMANDS
    else:
        yield "ok", f"nnU-Net finds {TRAINER}", ""


# --- cores, memory and disks -----------------------------------------------------------------------------

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
SHARED = Path("/dev/shm")


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
        yield "ok", "the system does not report its free memory", ""
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
        yield "problem", f"temporary files: {error}", "export TMPDIR=/a/folder that is writable"
    if SHARED.is_dir() and (size := shutil.disk_usage(SHARED).total) < GB:
        seen = f"{SHARED} has {size / GB:.2f} GB, too little for a training"
        yield "warning", seen, "start the container with --ipc=host, or --shm-size=8g"


def _space(purpose: str, folder: str) -> Seen:
    free = shutil.disk_usage(folder).free
    seen = f"{free / GB:.1f} GB are free for {purpose} ({folder})"
    few = "free some space: models and scans take some GB"
    return _amount(free, seen, (0.1 * GB, "free some space"), (2 * GB, few))


def _amount(free: float, seen: str, problem: tuple[float, str], warning: tuple[float, str]) -> Seen:
    """Judge free bytes by the limits below which they are a problem or a warning, each with its advice."""
    if free < problem[0]:
        return "problem", seen, problem[1]
    return ("warning", seen, warning[1]) if free < warning[0] else ("ok", seen, "")


# --- devices ---------------------------------------------------------------------------------------------

CPUINFO = Path("/proc/cpuinfo")
PINNING = ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def check_torch() -> Iterator[Seen]:
    """A torch that cannot be imported. The following checks need it."""
    try:
        import torch  # noqa: F401
    except Exception as error:
        advice = "pip install --force-reinstall torch"
        yield "problem", f"torch does not load: {_one_line(error)}", advice


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
        yield "problem", f"no {device.upper()} device was found", "choose another -device, cpu for example"


def has_bfloat16(device: str) -> bool:
    """Return whether predictions accept `--precision bfloat16` on a device."""
    import torch

    from .inference.settings import check_precision

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
    seen = f"{name}, {bfloat16}: {_count(threads, 'thread')} on {_count(cores, 'core')}"
    if threads > cores:
        seen = f"{seen}, and the threads wait for each other"
        yield "warning", seen, f"export OMP_NUM_THREADS={cores}"
    elif cores > 1 and (threads == 1 or threads * 2 < cores):
        advice = f"unset OMP_NUM_THREADS MKL_NUM_THREADS, or export OMP_NUM_THREADS={cores}"
        yield "warning", f"{seen}, though there are more", advice
    else:
        yield "ok", seen, ""


def check_threading() -> Iterator[Seen]:
    """Variables of OpenMP that slow torch down, or that it does not understand."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = os.environ.get(variable)
        if value is not None and not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", value):
            yield "warning", f"{variable}={value} is not a number", f"unset {variable}"
    for variable in PINNING:
        value = os.environ.get(variable, "").strip()
        if value and value.lower() not in ("false", "none", "disabled"):
            seen = f"{variable}={value} binds threads to cores, those of all processes to the same ones"
            yield "warning", seen, f"unset {variable}"


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
            advice = "end other programs on it (nvidia-smi lists them)" if free < 4 * GB else ""
            yield "warning" if advice else "ok", seen, advice
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        seen = f"nvidia-smi is there, but torch {torch.__version__} was built without CUDA"
        yield "warning", seen, "install a torch with CUDA: https://pytorch.org/get-started/locally"
    elif shutil.which("nvidia-smi"):
        reason = " ".join(str(caught[0].message).split())[:200] if caught else "torch gives no reason"
        yield (
            "warning",
            f"nvidia-smi is there, but torch with CUDA {torch.version.cuda} finds no card: {reason}",
            "update the driver if nvidia-smi reports an older CUDA, or install a torch for that CUDA; start "
            "containers with --gpus all",
        )


def check_mps() -> Iterator[Seen]:
    """Apple's graphics processor."""
    if is_available("mps"):
        yield "ok", "mps is there", ""


# --- speed -----------------------------------------------------------------------------------------------

FEATURES = (32, 64, 128, 256, 512, 512, 512)
"""Of the seven stages that nnU-Net plans for slices of 320 x 320."""
MIRRORED = 4
FAST = 1.4
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
    device = device or best_device()
    if not is_available(device):
        return
    try:
        best, undisturbed = best_time(_forward(device, size, features), seconds)
    except Exception as error:
        advice = "choose another -device" if device != "cpu" else "reinstall torch"
        yield "problem", f"the network does not run on {device}: {_one_line(error)}", advice
        return
    fast = best * MIRRORED * FAST
    halved = device == "cpu" and has_bfloat16(device)
    seen = (
        f"a forward of a slice of {size} x {size} takes {duration(best)} on {device}; with --preset fast a "
        f"slice takes about {duration(fast)}, a scan of {SLICES} slices {duration(fast * SLICES)}"
        f"{', about half with --precision bfloat16' if halved else ''}"
    )
    if device == "cpu" and not undisturbed:
        advice = "wait for them, or export OMP_NUM_THREADS=1: threads that wait for each other are slow"
        yield "warning", f"{seen}; but other programs are computing on these cores", advice
    elif fast > SLOW:
        faster = "--precision bfloat16" if halved else "a machine with a graphics card"
        yield "warning", seen, f"{faster}, if that is too slow for you"
    else:
        yield "ok", seen, ""


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

    from .inference.memory import keep_freed_memory

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


# --- output ----------------------------------------------------------------------------------------------

WIDTH = 96
COLORS: dict[Level, str] = {"ok": "\033[32m", "warning": "\033[33m", "problem": "\033[31m"}
PLAIN = "\033[0m"
wrap = partial(textwrap.wrap, width=WIDTH, break_long_words=False, break_on_hyphens=False)


def as_text(findings: Sequence[Finding], *, color: bool = False) -> str:
    """Return findings and advice in under 100 columns; those of a topic that are ok share a line.

    Args:
        color: mark the levels for a terminal.
    """
    lines = []
    for topic, group in groupby(findings, key=lambda finding: finding.topic):
        together = list(group)
        well = "; ".join(finding.seen for finding in together if finding.level == "ok")
        shown = [Finding("ok", topic, well)] if well else []
        shown += [finding for finding in together if finding.level != "ok"]
        for number, finding in enumerate(shown):
            head = f"{'' if number else topic:<11}{finding.level:<9}"
            seen = wrap(head + finding.seen, subsequent_indent=" " * 20)
            if color:
                mark = f"{COLORS[finding.level]}{finding.level}{PLAIN}"
                seen[0] = seen[0].replace(finding.level, mark, 1)
            advice = wrap(finding.advice, initial_indent=f"{'':20}-> ", subsequent_indent=" " * 23)
            lines += seen + advice
    numbers = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning")}
    summary = " and ".join(_count(number, level) for level, number in numbers.items() if number)
    if not numbers["problem"]:
        summary = f"{summary}; none of them stops spinesegdiff segment" if summary else "All is well"
    return "\n".join([*lines, "", f"{summary}."])


def as_json(findings: Sequence[Finding]) -> str:
    """Return findings for a bug report, without the user's name and home folder."""
    content = {"version": __version__, "findings": [asdict(finding) for finding in findings]}
    return without_names(json.dumps(content, indent=2))


def without_names(text: str) -> str:
    """Return `text` with ~ for the home folder, and USER for folders with the user's name."""
    for home in {str(Path.home()), os.path.realpath(Path.home())}:
        if home != os.sep:
            text = re.sub(rf"(?<![\w/.-]){re.escape(home)}(?![\w.-])", "~", text)
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        return text
    return re.sub(rf"(?<=/){re.escape(user)}(?![\w.-])", "USER", text)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _same(path: str, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)
