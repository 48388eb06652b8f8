"""Which versions are installed, and whether each of them once."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

from .. import __version__
from .finding import Finding

TOPIC = "versions"
OURS = "nnunetv2_spinesegdiff"
PYTHON = ((3, 10), (3, 14))
SUPPORTED: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "nnunetv2": ((2, 8), (2, 9)),
    "torch": ((2, 6), (sys.maxsize, 0)),
    "SimpleITK": ((0, 0), (sys.maxsize, 0)),
    "numpy": ((0, 0), (sys.maxsize, 0)),
}
"""The lowest version of a package, and the first that is too new; the same as in setup.cfg."""


def check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if not PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        return Finding(
            "problem", TOPIC, f"Python {version}", "make a virtual environment with Python 3.10 to 3.13"
        )
    return Finding("ok", TOPIC, f"Python {version}")


def check_package(name: str) -> Finding:
    """A package of others: there, and of a version that works with ours."""
    lowest, too_new = SUPPORTED[name]
    wanted = f'pip install "{name}{_specifier(name)}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding("problem", TOPIC, f"{name} is not installed", wanted)
    if not lowest <= _first_two(version) < too_new:
        return Finding("problem", TOPIC, f"{name} {version}", wanted)
    return Finding("ok", TOPIC, f"{name} {version}")


def check_ours() -> Finding:
    """This package: installed, and as the version that runs."""
    try:
        version = metadata.version(OURS)
    except metadata.PackageNotFoundError:
        return Finding(
            "warning",
            TOPIC,
            f"{OURS} {__version__} runs, but is not installed",
            "pip install . in its folder, so that the command spinesegdiff is there everywhere",
        )
    if version != __version__:
        return Finding(
            "warning",
            TOPIC,
            f"{OURS} {__version__} runs, {version} is installed",
            f"pip uninstall {OURS}, as often as it finds one, and pip install . once",
        )
    return Finding("ok", TOPIC, f"{OURS} {version}")


def check_installed_once(package: str) -> list[Finding]:
    """Installations of a package beside the one that is used, a warning each.

    A clone that is installed with `pip install -e` is one installation: its record elsewhere names it.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return []
    used = Path(found.origin).resolve().parents[1]
    others = {folder for folder, served in _installations(package) if served != used}
    return [
        Finding(
            "warning",
            TOPIC,
            f"{package} is used from {used} and was installed in {folder}, too",
            f"pip uninstall {package}, as often as it finds one, and install it once",
        )
        for folder in sorted(others)
    ]


def check_leftovers() -> list[Finding]:
    """What an interrupted pip left of nnU-Net or of this package."""
    folders = {Path(folder).resolve() for folder in sys.path if folder}
    return [
        Finding("warning", TOPIC, f"{path} was left by an interrupted pip", "remove that folder")
        for path in sorted(path for folder in folders for path in folder.glob("~nunetv2*"))
    ]


def _installations(package: str) -> Iterator[tuple[Path, Path]]:
    """Where each record of an installation lies, and the folder that it makes importable."""
    for distribution in metadata.distributions(name=package):
        folder = Path(str(distribution.locate_file(""))).resolve()
        told = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable = told.get("dir_info", {}).get("editable", False)
        yield folder, Path(unquote(urlparse(told["url"]).path)).resolve() if editable else folder


def _first_two(version: str) -> tuple[int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def _specifier(name: str) -> str:
    """`>=2.8,<2.9`, as pip has it."""
    lowest, too_new = SUPPORTED[name]
    parts = [f">={'.'.join(map(str, lowest))}"] if lowest > (0, 0) else []
    parts += [f"<{'.'.join(map(str, too_new))}"] if too_new[0] < sys.maxsize else []
    return ",".join(parts)
