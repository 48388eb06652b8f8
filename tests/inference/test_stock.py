"""Predictions start without torch's compiler; compilation works as before."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_COMPILER = """
import sys
from nnunetv2_spinesegdiff.inference.stock import OptimizedModule, stock
from nnunetv2_spinesegdiff.segmentation import command, segment
assert "torch._dynamo" not in sys.modules
"""


def run(lines: str) -> None:
    """In a fresh process: in this one the compiler has been loaded long ago."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER + lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_compiler_is_not_loaded_to_segment():
    run("")


def test_compiled_networks_are_known_as_such():
    run(
        """
import torch
network = torch.nn.Linear(1, 1)
assert not isinstance(network, stock.OptimizedModule)
compiled = torch.compile(network, backend="eager")
assert isinstance(compiled, stock.OptimizedModule) and isinstance(compiled, OptimizedModule)
assert not isinstance(network, stock.OptimizedModule)
"""
    )


def test_functions_are_kept_out_of_graphs_as_soon_as_trainers_are_imported():
    run(
        """
import torch
from nnunetv2_spinesegdiff.diffusion import ddim
assert ddim.ddim_pairs(4, 2) == [(4, 2), (2, 0)]
import nnunetv2_spinesegdiff.training.trainers
graphs = []
def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward
def chain(x):
    for t, t_prev in ddim.ddim_pairs(4, 2):
        x = x * t
    return x + 1
assert torch.equal(torch.compile(chain, backend=backend)(torch.ones(1)), torch.full((1,), 9.0))
assert torch._dynamo.utils.counters["graph_break"], "ddim_pairs became part of a graph"
"""
    )


def test_a_version_of_nnunet_that_needs_the_compiler_is_imported_with_it():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            """
import importlib, sys
real, refused = importlib.import_module, []
def import_module(name, package=None):
    if name.endswith("predict_from_raw_data") and not refused:
        refused.append(sys.modules["torch._dynamo"])
        raise AttributeError("module 'torch._dynamo' has no attribute 'config'")
    return real(name, package)
importlib.import_module = import_module
from nnunetv2_spinesegdiff.inference.stock import stock
assert refused and sys.modules["torch._dynamo"] is not refused[0]
assert stock.OptimizedModule is sys.modules["torch._dynamo"].OptimizedModule
""",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
