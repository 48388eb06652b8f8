"""Which room may import what: the table of the design, enforced on every module of the package.

Imports inside functions count like those at the top. Relative imports are resolved; `dataset_conversion` is
installed as `nnunetv2_spinesegdiff.dataset_conversion` and is checked under that name.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "nnunetv2_spinesegdiff"
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Room:
    """What the modules of a room may import beside themselves and the standard library.

    Attributes:
        inside: rooms and single modules of our package.
        outside: packages of others, or parts of them.
    """

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


LEAVES = ("labels", "errors", "files", "locks", "workers", "environment", "stored", "presegmentations")
SPIDER_NAMES = ("dataset_conversion.names", "dataset_conversion.published_splits")
EXPORTED_BY_NNUNET = ("nnunetv2.dataset_conversion.generate_dataset_json",)
ROOMS = {
    # Importable by every room, so they import nothing of ours but each other, and no torch.
    "labels": Room(),
    "errors": Room(),
    "files": Room(),
    "locks": Room(outside=("filelock",)),
    "workers": Room(inside=("errors",), outside=("SimpleITK",)),
    "environment": Room(inside=("errors",)),
    "stored": Room(inside=("errors",)),
    "examples": Room(),
    "presegmentations": Room(inside=("errors", "files")),
    # Pure functions and modules over tensors: no files.
    "diffusion": Room(inside=("labels", "errors"), outside=("torch",)),
    "network": Room(
        inside=("diffusion", "labels", "errors"), outside=("torch", "dynamic_network_architectures")
    ),
    "training": Room(
        inside=("network", "diffusion", "inference", "dataset_conversion.names", *LEAVES),
        outside=("torch", "numpy", "scipy", "nnunetv2", "batchgenerators", "batchgeneratorsv2"),
    ),
    "inference": Room(
        inside=("network", "diffusion", "evaluation", "images", "preflight", *LEAVES),
        outside=(
            *("torch", "numpy", "tqdm", "nnunetv2", "SimpleITK", "nibabel"),
            *("acvl_utils", "batchgenerators"),
        ),
    ),
    "preflight": Room(inside=("errors", "environment", "stored"), outside=("torch", "nnunetv2")),
    "evaluation": Room(inside=(*SPIDER_NAMES, *LEAVES), outside=("numpy", "scipy", "pandas", "statsmodels")),
    "evaluation.plots": Room(
        inside=("evaluation", *LEAVES), outside=("numpy", "scipy", "pandas", "matplotlib")
    ),
    "evaluation.scores": Room(
        inside=("evaluation", *LEAVES), outside=("numpy", "scipy", "pandas", "monai", "torch")
    ),
    # Reads and writes the files of an evaluation; what it computes and draws, the room before it does.
    "reporting": Room(
        inside=("evaluation", "images", *SPIDER_NAMES, *LEAVES),
        outside=("numpy", "pandas", "SimpleITK", "tqdm", "jinja2", "torch"),
    ),
    # Starts nnU-Net's commands instead of importing them; of other rooms, what knows names and flags.
    "experiments": Room(
        inside=(
            *("evaluation", "preflight", "training.names", *LEAVES),
            *("inference.command", "inference.held_out_cases"),
        ),
        outside=("yaml", "pydantic", "numpy", "pandas"),
    ),
    "dataset_conversion": Room(
        inside=("images", *LEAVES),
        outside=("SimpleITK", "numpy", "scipy", "tqdm", *EXPORTED_BY_NNUNET),
    ),
    # Everything that reads or writes an image goes through here; highdicom is an extra.
    "images": Room(
        inside=LEAVES,
        outside=("SimpleITK", "numpy", "nibabel", "highdicom", "pydicom"),
    ),
    "measuring": Room(inside=LEAVES, outside=("numpy", "scipy", "pandas", "skimage")),
    "sharing": Room(
        inside=(
            "inference",
            "network",
            "preflight",
            "dataset_conversion.published_splits",
            "images.zips",
            *LEAVES,
        ),
        outside=("torch", "numpy", "nnunetv2"),
    ),
    # The front door: everything that a scan passes through, but no training.
    "segmentation": Room(
        inside=(
            *("images", "measuring", "sharing", "inference", "network", "diffusion", "evaluation"),
            *("dataset_conversion", "preflight", *LEAVES),
        ),
        outside=("torch", "numpy", "pandas", "SimpleITK", "tqdm", "nnunetv2"),
    ),
    # What it measures is measured as predictions run.
    "doctor": Room(
        inside=("inference.memory", "inference.settings", *LEAVES),
        outside=("torch", "dynamic_network_architectures", "packaging"),
    ),
    # The one room that asks a network for anything.
    "downloads": Room(
        inside=("images.zips", "errors", "files", "locks"), outside=("pooch", "requests", "tqdm")
    ),
    "ext_trainers": Room(inside=("training", "errors")),
}
FREE = ("cli", "demo", "demo_train", "__main__", "__init__")
"""Where the rooms are put together."""


def modules() -> dict[str, Path]:
    """Dotted name (within the package) to file, of every module."""
    found = {}
    for folder, prefix in ((ROOT / PACKAGE, ()), (ROOT / "dataset_conversion", ("dataset_conversion",))):
        for path in folder.rglob("*.py"):
            found[".".join([*prefix, *path.relative_to(folder).with_suffix("").parts])] = path
    return found


def room_of(module: str, names: tuple[str, ...] | dict) -> str | None:
    """The most specific of `names` that `module` is or lies in."""
    parts = module.split(".")
    candidates = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((c for c in candidates if c in names), None)


def imports_of(module: str, source: str) -> list[str]:
    """Absolute names of all that a module imports; `from x import y` gives `x.y`."""
    package = [PACKAGE, *module.split(".")][:-1]
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{home}.{alias.name}" for alias in node.names]
    return names


def violations(module: str, source: str) -> list[str]:
    """What a module imports against the rules of its room."""
    name = room_of(module, ROOMS)
    if name is None:
        return (
            []
            if module.split(".")[0] in FREE
            else [f"{module} is in no room: give it one in ROOMS, or add it to FREE"]
        )
    room = ROOMS[name]
    bad = []
    for imported in imports_of(module, source):
        top, _, rest = imported.partition(".")
        if top == PACKAGE:
            allowed = rest == "__version__" or room_of(rest, (name, *room.inside)) is not None
        else:
            allowed = top in sys.stdlib_module_names or room_of(imported, room.outside) is not None
        if not allowed:
            bad.append(f"{module} imports {imported}, which {name} must not")
    return bad


@pytest.mark.parametrize("module", sorted(modules()))
def test_rooms_import_only_what_they_may(module):
    assert not violations(module, modules()[module].read_text())


def test_every_room_has_modules_and_every_module_a_room():
    used = {room_of(module, ROOMS) for module in modules()} - {None}
    assert used == set(ROOMS)
    assert "dataset_conversion.phantom.anatomy" in modules()
    assert len(modules()) > 50


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffusion.ddim", "import nnunetv2"),
        ("diffusion.ddim", "from ..network import denoiser"),
        ("diffusion.ddim", "from ..network.denoiser import encode"),
        ("diffusion.ddim", "from ..files import save_json"),
        ("diffusion.ddim", "import numpy as np"),
        ("diffusion.ddim", "from .. import network"),
        ("network.two_stage", "from ..training.losses import RefinementLoss"),
        ("network.two_stage", "def f():\n    import nnunetv2.paths"),
        ("network.two_stage", "from nnunetv2_spinesegdiff.training import trainer"),
        ("training.trainer", "from ..evaluation.summary_tables import as_csv"),
        ("training.trainer", "class A:\n    def f(self):\n        from .. import cli"),
        ("inference.predictor", "from ..training import trainers"),
        ("evaluation.summary_tables", "import torch"),
        ("evaluation.summary_tables", "import matplotlib.pyplot as plt"),
        ("evaluation.summary_tables", "from .plots import draw_cases\nimport torch.nn as nn"),
        ("evaluation.plots.cases", "from ...training.report import compare"),
        ("experiments.training", "import torch"),
        ("experiments.training", "from ..training import trainers"),
        ("experiments.predicting", "def f():\n    from ..inference.predictor import SpineSegDiffPredictor"),
        ("dataset_conversion.convert", "import torch"),
        ("dataset_conversion.convert", "import nnunetv2.paths"),
        ("dataset_conversion.phantom.anatomy", "from ...training import trainer"),
        ("dataset_conversion.phantom.anatomy", "try:\n    import torch\nexcept ImportError:\n    pass"),
        ("ext_trainers.spinesegdiff_trainers", "from nnunetv2_spinesegdiff.network import two_stage"),
        ("labels", "import torch"),
        ("errors", "from .cli import main"),
        ("files", "from . import environment"),
        ("environment", "if True:\n    import nnunetv2"),
        ("somewhere.new", "import os"),
    ],
)
def test_a_planted_violation_is_found(module, source):
    assert violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "diffusion.ddim",
            "import math\nimport torch\nfrom torch import nn\nfrom .masks import encode_masks",
        ),
        ("network.two_stage", "from ..diffusion.sampler import sample"),
        (
            "dataset_conversion.phantom.anatomy",
            "from ..geometry import x\nfrom .canvas import y\nfrom ...files import z",
        ),
        (
            "evaluation.plots.cases",
            "from matplotlib.figure import Figure\nfrom ..summary_tables import as_csv",
        ),
        ("experiments.description", "from ..training.names import parse_suffixes\nimport yaml"),
        ("cli", "import torch\nfrom .training import trainer"),
    ],
)
def test_what_is_allowed_is_not_found(module, source):
    assert not violations(module, source)


@pytest.mark.parametrize(
    "module",
    [
        *("cli", "labels", "errors", "files", "environment", "presegmentations", "preflight"),
        "experiments.command",
    ],
)
def test_the_command_starts_without_torch(module):
    """`spinesegdiff -h` answers at once."""
    slow = "{'torch', 'nnunetv2', 'SimpleITK'}"
    code = f"import sys, {PACKAGE}.{module}; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["dataset_conversion.convert", "dataset_conversion.phantom", "evaluation.plots"]
)
def test_data_and_evaluation_load_neither_training_nor_network(module):
    """Nothing comes in through the back door, either."""
    code = f"import sys, {PACKAGE}.{module}; print([m for m in sys.modules if m.startswith('{PACKAGE}.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert not [
        room for room in ("training", "network", "diffusion", "inference") if f".{room}" in done.stdout
    ]
