"""What the package replaces in nnU-Net is there, is what nnU-Net calls, and is put back."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from nnunetv2.inference import predict_from_raw_data as stock

from nnunetv2_spinesegdiff import nnunet_hooks
from nnunetv2_spinesegdiff.errors import UserError

PREDICTOR = stock.nnUNetPredictor
HOOKS = [
    (nnunet_hooks.predictor_class, "nnUNetPredictor", stock.predict_entry_point),
    (
        nnunet_hooks.export_function,
        "export_prediction_from_logits",
        PREDICTOR.predict_from_data_iterator,
    ),
    (
        nnunet_hooks.export_function,
        "export_prediction_from_logits",
        PREDICTOR.predict_from_files_sequential,
    ),
    (nnunet_hooks.checkpoint_loader, "torch", PREDICTOR.initialize_from_trained_model_folder),
]
"""A hook, the name that it replaces, and the function of nnU-Net that must look the name up."""


@pytest.mark.parametrize(("hook", "name", "caller"), HOOKS)
def test_nnunet_calls_what_a_hook_replaces(hook, name, caller):
    before = getattr(stock, name)
    with hook(type("Replacement", (), {})):
        assert getattr(stock, name) is not before
    with pytest.raises(ZeroDivisionError), hook(type("Replacement", (), {})):
        raise ZeroDivisionError
    assert getattr(stock, name) is before
    assert name in caller.__code__.co_names


@pytest.mark.parametrize(("hook", "name"), [(hook, name) for hook, name, _ in HOOKS])
def test_a_version_without_the_target_is_named(hook, name, monkeypatch):
    monkeypatch.delattr(stock, name)
    with pytest.raises(UserError, match=rf"nnunetv2 {version('nnunetv2')}: .*{name}"), hook(object):
        pass
    assert not hasattr(stock, name)


def test_checkpoints_are_read_with_the_loader_and_nothing_else_of_torch_changes():
    assert "load" in PREDICTOR.initialize_from_trained_model_folder.__code__.co_names
    with nnunet_hooks.checkpoint_loader(lambda path: {"name": path.name}):
        assert stock.torch.load("folder/a.pth", map_location="cpu", weights_only=False) == {"name": "a.pth"}
        assert stock.torch.device is torch.device


def test_commands_parse_the_given_words():
    before = sys.argv
    with nnunet_hooks.command_line(["nnUNetv2_predict", "--nowhere"]):
        with pytest.raises(SystemExit):
            stock.predict_entry_point()
        assert sys.argv == ["nnUNetv2_predict", "--nowhere"]
    assert sys.argv is before


def in_fresh_process(code: str) -> None:
    """In this one the compiler has been loaded long ago."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_compiler_is_loaded_with_trainers_only_and_keeps_functions_out_of_graphs():
    """What it compiles is known as such, before it is loaded and afterwards."""
    in_fresh_process(
        """
import sys
from nnunetv2_spinesegdiff.nnunet_hooks import OptimizedModule, stock
from nnunetv2_spinesegdiff.segmentation import cohort, segment
import torch
network = torch.nn.Linear(1, 1)
assert not isinstance(network, stock.OptimizedModule)
from nnunetv2_spinesegdiff.diffusion import ddim
assert ddim.ddim_pairs(4, 2) == [(4, 2), (2, 0)]
assert "torch._dynamo" not in sys.modules

import nnunetv2_spinesegdiff.training.trainers
def backend(graph, inputs):
    return graph.forward
def chain(x):
    for t, t_prev in ddim.ddim_pairs(4, 2):
        x = x * t
    return x + 1
assert torch.equal(torch.compile(chain, backend=backend)(torch.ones(1)), torch.full((1,), 9.0))
assert torch._dynamo.utils.counters["graph_break"], "ddim_pairs became part of a graph"

compiled = torch.compile(network, backend="eager")
assert isinstance(compiled, stock.OptimizedModule) and isinstance(compiled, OptimizedModule)
assert not isinstance(network, stock.OptimizedModule)
"""
    )


def test_a_version_of_nnunet_that_needs_the_compiler_is_imported_with_it():
    in_fresh_process(
        """
import importlib, sys
real, refused = importlib.import_module, []
def import_module(name, package=None):
    if name.endswith("predict_from_raw_data") and not refused:
        refused.append(sys.modules["torch._dynamo"])
        raise AttributeError("module 'torch._dynamo' has no attribute 'config'")
    return real(name, package)
importlib.import_module = import_module
from nnunetv2_spinesegdiff.nnunet_hooks import stock
assert refused and sys.modules["torch._dynamo"] is not refused[0]
assert stock.OptimizedModule is sys.modules["torch._dynamo"].OptimizedModule
"""
    )
