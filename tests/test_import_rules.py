"""What each folder may import: the table in CONTRIBUTING.md, checked on every module of the package.

Imports inside functions count like those at the top. Relative imports are resolved; `dataset_conversion` is
installed as `nnunetv2_spinesegdiff.dataset_conversion` and is checked under that name.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "nnunetv2_spinesegdiff"
ROOT = Path(__file__).resolve().parents[1]

NNUNET = ("torch", "nnunetv2", "batchgenerators", "batchgeneratorsv2", "acvl_utils")
LIBRARIES = {
    "errors": (),
    "labels": (),
    "measures": (),
    "text": (),
    "redaction": (),
    "diffusion": ("torch",),
    "network": ("torch", "dynamic_network_architectures"),
    "files": (),
    "records": (),
    "locks": ("filelock",),
    "workers": ("SimpleITK",),
    "environment": (),
    "nnunet_hooks": ("torch", "nnunetv2"),
    "stored": (),
    "preflight": ("torch", "nnunetv2"),
    "images": ("SimpleITK", "numpy", "nibabel", "highdicom", "pydicom", "skimage"),
    "dataset_conversion": (
        *("SimpleITK", "numpy", "scipy", "tqdm"),
        "nnunetv2.dataset_conversion.generate_dataset_json",
    ),
    "uncertainty": ("numpy", "scipy", "pandas"),
    "plots": ("numpy", "scipy", "pandas", "matplotlib", "contourpy"),
    "pages": (),
    "inference": (*NNUNET, "numpy", "SimpleITK", "nibabel", "tqdm"),
    "training": (*NNUNET, "numpy", "scipy", "tqdm"),
    "calibration": (*NNUNET, "numpy", "tqdm"),
    "evaluation": (
        *("numpy", "scipy", "pandas", "statsmodels", "monai", "torch"),
        *("SimpleITK", "tqdm", "jinja2"),
    ),
    "sharing": (*NNUNET, "numpy"),
    "segmentation": (*NNUNET, "numpy", "scipy", "pandas", "skimage", "SimpleITK", "tqdm"),
    "examples": (),
    "experiments": ("yaml", "pydantic", "numpy", "pandas"),
    "downloads": ("pooch", "requests", "tqdm"),
    "doctor": ("torch", "dynamic_network_architectures", "packaging"),
    "ext_trainers": (),
}
"""Packages of others that a folder may import, next to the standard library."""
FREE = ("cli", "demo", "demo_train", "__main__", "__init__")
"""Where the folders are put together: they may import anything."""


def rows() -> dict[str, int]:
    """Folder or module to its row in the table of CONTRIBUTING.md, counted from the top."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| --- | --- |\n")[1].split("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()]
    return {name.strip("/"): row for row, cell in enumerate(first) for name in re.findall(r"`([^`]+)`", cell)}


ROWS = rows()


def modules() -> dict[str, Path]:
    """Dotted name (within the package) to file, of every module."""
    found = {}
    for folder, prefix in ((ROOT / PACKAGE, ()), (ROOT / "dataset_conversion", ("dataset_conversion",))):
        for path in folder.rglob("*.py"):
            found[".".join([*prefix, *path.relative_to(folder).with_suffix("").parts])] = path
    return found


def imports(module: str, source: str) -> list[str]:
    """Absolute names of all that a module imports; `from x import y` gives `x.y`.

    Imports that only type checkers see are left out.
    """
    package = [PACKAGE, *module.split(".")][:-1]
    names = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{home}.{alias.name}" for alias in node.names]
    return names


def violations(module: str, source: str) -> list[str]:
    """What a module imports against the rules of its folder."""
    folder = module.split(".")[0]
    if folder in FREE:
        return []
    if folder not in ROWS:
        return [f"{module}: {folder} is not in the table of CONTRIBUTING.md"]
    bad = []
    for imported in imports(module, source):
        top, _, rest = imported.partition(".")
        if top == PACKAGE:
            target = rest.split(".")[0]
            allowed = rest == "__version__" or ROWS.get(target, len(ROWS)) <= ROWS[folder]
        else:
            allowed = top in sys.stdlib_module_names or any(
                f"{imported}.".startswith(f"{library}.") for library in LIBRARIES[folder]
            )
        if not allowed:
            bad.append(f"{module} imports {imported}")
    return bad


def test_no_module_breaks_the_rules():
    assert not [bad for module, path in modules().items() for bad in violations(module, path.read_text())]


def test_the_table_has_every_folder_and_nothing_else():
    assert set(ROWS) == {module.split(".")[0] for module in modules()} - {"__init__", "__main__"}
    assert set(LIBRARIES) == set(ROWS) - set(FREE)


def test_no_module_imports_itself_through_others():
    known = modules()
    graph = {}
    for module, path in known.items():
        inside = [name.removeprefix(f"{PACKAGE}.") for name in imports(module, path.read_text())]
        targets = {name if name in known else name.rpartition(".")[0] for name in inside}
        graph[module] = {target for target in targets if target in known and target != module}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffusion.ddim", "import nnunetv2"),
        ("diffusion.ddim", "from ..network import denoiser"),
        ("diffusion.ddim", "from ..network.denoiser import encode"),
        ("diffusion.ddim", "from ..files import save_json"),
        ("diffusion.ddim", "import numpy as np"),
        ("diffusion.ddim", "from .. import network"),
        ("network.two_stage", "def f():\n    import nnunetv2.paths"),
        ("network.two_stage", "from nnunetv2_spinesegdiff.training import trainer"),
        ("training.trainer", "class A:\n    def f(self):\n        from .. import cli"),
        ("inference.predictor", "from ..training import trainers"),
        ("uncertainty.confidence", "import torch"),
        ("plots.cases", "from ..training.report import compare"),
        ("experiments.training", "import torch"),
        ("dataset_conversion.convert", "import nnunetv2.paths"),
        ("dataset_conversion.phantom.anatomy", "from ...training import trainer"),
        ("dataset_conversion.phantom.anatomy", "try:\n    import torch\nexcept ImportError:\n    pass"),
        ("labels", "import torch"),
        ("errors", "from .cli import main"),
        ("environment", "if True:\n    import nnunetv2"),
        ("somewhere.new", "import os"),
    ],
)
def test_a_planted_violation_is_found(module, source):
    assert violations(module, source)


def loaded_by(module: str) -> set[str]:
    """What a new interpreter has loaded once it has imported a module of the package."""
    code = f"import sys, {PACKAGE}.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["cli", "experiments.command"])
def test_the_command_starts_without_torch(module):
    """`spinesegdiff -h` answers at once."""
    assert not loaded_by(module) & {"torch", "nnunetv2", "SimpleITK"}


@pytest.mark.parametrize("module", ["dataset_conversion.convert", "plots"])
def test_data_and_figures_load_neither_training_nor_network(module):
    above = ("training", "network", "diffusion", "inference")
    assert not loaded_by(module) & {f"{PACKAGE}.{folder}" for folder in above}
