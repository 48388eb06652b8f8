"""Whether packages, variables, commands and trainers fit together."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from .. import __version__
from ..environment import COMMANDS, TRAINERS
from .findings import OURS, Seen, ok, ok_if, problem, same_place, warning

EVAL = 'eval "$(spinesegdiff env)"'
OWN_COMMANDS = f"run {EVAL} before nnU-Net's own commands; the commands of spinesegdiff do not need it"
OWN_PREDICT = f"run {EVAL}; spinesegdiff predict does not need it"
PREDICT = "nnUNetv2_predict"
TRAINER = "nnUNetTrainerSpineSegDiff"


def check_versions() -> Iterator[Seen]:
    """This package, Python and the most important packages, against the requirements of this package."""
    needed, python = {}, SpecifierSet()
    try:
        installed = metadata.version(OURS)
    except metadata.PackageNotFoundError:
        advice = "run pip install . in its folder, so that the command spinesegdiff is found everywhere"
        yield warning(f"{OURS} {__version__} runs, but is not installed", advice)
    else:
        needed = {r.name: r for r in map(Requirement, metadata.requires(OURS) or []) if not r.marker}
        python = SpecifierSet(metadata.metadata(OURS)["Requires-Python"])
        if installed == __version__:
            yield ok(f"{OURS} {installed}")
        else:
            advice = f"repeat pip uninstall {OURS} until none is left, then pip install . once"
            yield warning(f"{OURS} {__version__} runs, {installed} is installed", advice)
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok_if(version in python, f"Python {version}", f"create a virtual environment with Python {python}")
    for name in ("nnunetv2", "torch", "SimpleITK", "numpy"):
        requirement = needed.get(name, Requirement(name))
        advice = f'pip install "{requirement}"'
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield problem(f"{name} is not installed", advice)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        yield ok_if(fits, f"{name} {version}", advice)


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
        advice = f"repeat pip uninstall {package} until none is left, then install it once"
        yield warning(f"{package} is used from {used} and also installed in {folder}", advice)


def check_leftovers() -> Iterator[Seen]:
    """Find remains of nnU-Net or of this package after an interrupted pip."""
    folders = {Path(folder).resolve() for folder in sys.path if folder}
    for path in sorted(path for folder in folders for path in folder.glob("~nunetv2*")):
        yield warning(f"{path} was left by an interrupted pip", "delete that folder")


def check_folders() -> Iterator[Seen]:
    """The folders of nnU-Net, none of which `segment` needs."""
    for variable, purpose in (
        ("nnUNet_raw", "converting and planning"),
        ("nnUNet_preprocessed", "planning and training"),
        ("nnUNet_results", "training, and predicting with -d"),
    ):
        value = os.environ.get(variable)
        if not value:
            advice = f"export {variable}=/a/folder for {purpose}; spinesegdiff segment does not need it"
            yield warning(f"{variable} is not set", advice)
        elif not Path(value).is_dir():
            fault = "is a file" if Path(value).exists() else "does not exist"
            advice = f"create the folder, set {variable} to another one, or unset it (needed for {purpose})"
            yield problem(f"{variable}={value} {fault}", advice)
        elif not os.access(value, os.W_OK | os.X_OK):
            advice = f"change its permissions if you need to write there ({purpose})"
            yield warning(f"{variable}={value} can be read but not written", advice)
        else:
            yield ok(f"{variable}={value}")


def check_external_trainers() -> Iterator[Seen]:
    """The folders in nnUNet_extTrainer: ours, other copies of it, and folders that do not exist."""
    folders = [folder for folder in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep) if folder]
    ours = [folder for folder in folders if same_place(folder, TRAINERS)]
    copies = [f for f in folders if f not in ours and (Path(f) / "spinesegdiff_trainers.py").is_file()]
    faults = [(f, "does not exist, and nnU-Net skips it") for f in folders if not Path(f).is_dir()]
    for folder, fault in [*faults, *((copy, "is of another copy of this package") for copy in copies)]:
        yield warning(f"nnUNet_extTrainer: {folder} {fault}", f"unset nnUNet_extTrainer; {EVAL}")
    if ours:
        yield ok("nnUNet_extTrainer holds the SpineSegDiff trainers")
    elif not copies:
        state = "does not hold the SpineSegDiff trainers" if folders else "is not set"
        yield warning(f"nnUNet_extTrainer {state}", OWN_COMMANDS)


def check_predict_command() -> Iterator[Seen]:
    """The prediction command on the PATH: ours or the stock one, of this environment or another."""
    found = shutil.which(PREDICT)
    if found is None:
        yield warning(f"no {PREDICT} is on the PATH", OWN_PREDICT)
        return
    if same_place(found, COMMANDS / PREDICT):
        # It starts the Python of `spinesegdiff env`, or else the first one on the PATH.
        python = os.environ.get("spinesegdiff_python") or shutil.which("python3")
        if _is_of_this_environment(python):
            yield ok(f"{PREDICT} has the SpineSegDiff options: {found}")
        else:
            yield warning(f"{PREDICT} starts {python} of another environment", EVAL)
        return
    script = Path(found).read_bytes()[:2000].decode(errors="replace")
    if OURS in script:
        yield warning(f"{found} is of another copy of this package", EVAL)
        return
    # A console script names its Python in the first line, or in the second one if the path is long.
    match = re.match(r"#!\s*(\S*python\S*)|#!/bin/sh\n'''exec' \"?([^\"\n]+?)\"? \"\$0\"", script)
    here = match and _is_of_this_environment(match[1] or match[2])
    environment = "this environment" if here else "another environment"
    seen = f"{found} is the command of nnU-Net in {environment}, without SpineSegDiff options"
    yield warning(seen, OWN_PREDICT)


def _is_of_this_environment(python: str | None) -> bool:
    if python is None:
        return False
    code = "import sys; print(sys.prefix)"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return same_place(done.stdout.strip(), Path(sys.prefix))


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
    """Check in a new process whether nnU-Net finds the trainer, in this shell and after `spinesegdiff env`.

    Args:
        seconds: after which a process without an answer is ended.
    """
    words, null = [sys.executable, "-c", ASK], subprocess.DEVNULL
    try:
        done = subprocess.run(words, stdin=null, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        seen = f"nnU-Net did not answer within {seconds:g} s whether it finds {TRAINER}"
        yield warning(seen, "run this again when the machine, or the disk with Python, is less busy")
        return
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        now, after = "", lines[-1]
    else:
        now, after = json.loads(done.stdout.splitlines()[-1])
    if after:
        seen = f"nnU-Net does not find {TRAINER} even after {EVAL}: {after[:200]}"
        yield problem(seen, "install nnU-Net and this package in a new virtual environment")
    elif now:
        seen = f"nnU-Net finds {TRAINER} only after {EVAL}"
        yield warning(seen, OWN_COMMANDS)
    else:
        yield ok(f"nnU-Net finds {TRAINER}")
