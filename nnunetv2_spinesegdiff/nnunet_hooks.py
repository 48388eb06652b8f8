"""Every place where the package replaces a part of nnU-Net.

nnU-Net offers no option for any of them. Each hook checks that its target exists.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from .errors import UserError

_COMPILER = "torch._dynamo"
_PREDICTOR = "nnunetv2.inference.predict_from_raw_data"


class _IsOptimized(type):
    def __instancecheck__(cls, instance: object) -> bool:
        compiler = sys.modules.get(_COMPILER)
        real = getattr(compiler, "OptimizedModule", cls)
        return real is not cls and isinstance(instance, real)


class OptimizedModule(metaclass=_IsOptimized):
    """Stands for `torch._dynamo.OptimizedModule` in `isinstance`: as long as torch's compiler is not loaded,
    nothing is compiled."""

    _orig_mod: Any


def _import_without_compiler() -> ModuleType:
    """Import nnU-Net's predictor; its import of `OptimizedModule` gets the class above.

    If a version of nnU-Net needs more of the compiler than that class, the import fails and is repeated with
    the compiler: slower, with the same result.
    """
    if _COMPILER not in sys.modules and _PREDICTOR not in sys.modules:
        stand_in: Any = ModuleType(_COMPILER)
        stand_in.OptimizedModule = OptimizedModule
        sys.modules[_COMPILER] = stand_in
        try:
            with contextlib.suppress(ImportError, AttributeError):
                return importlib.import_module(_PREDICTOR)
        finally:
            del sys.modules[_COMPILER]
    return importlib.import_module(_PREDICTOR)


stock: Any = _import_without_compiler()
"""`nnunetv2.inference.predict_from_raw_data`."""


@contextlib.contextmanager
def _replaced(name: str, value: object) -> Iterator[None]:
    """Give a global name of nnU-Net's predictor module another value within the block.

    Raises:
        UserError: this version of nnU-Net does not have the name.
    """
    if not hasattr(stock, name):
        raise UserError(
            f"nnunetv2 {version('nnunetv2')}",
            f"{stock.__name__} has no {name}",
            "install a version of nnunetv2 that nnunetv2_spinesegdiff supports",
        )
    previous = getattr(stock, name)
    setattr(stock, name, value)
    try:
        yield
    finally:
        setattr(stock, name, previous)


def predictor_class(predictor: type) -> contextlib.AbstractContextManager[None]:
    """Let nnU-Net's commands build `predictor` instead of `nnUNetPredictor`."""
    return _replaced("nnUNetPredictor", predictor)


def export_function(export: Callable[..., Any]) -> contextlib.AbstractContextManager[None]:
    """Let nnU-Net's predictor write the files of a case with `export`.

    Args:
        export: takes the arguments of `export_prediction_from_logits`.
    """
    return _replaced("export_prediction_from_logits", export)


def checkpoint_loader(
    load: Callable[[Path], dict[str, Any]],
) -> contextlib.AbstractContextManager[None]:
    """Let nnU-Net's predictor read checkpoints with `load` instead of `torch.load`."""
    return _replaced("torch", _TorchWithLoader(load))


class _TorchWithLoader:
    """The module torch with another `load`."""

    def __init__(self, load: Callable[[Path], dict[str, Any]]):
        self._load = load

    def load(self, checkpoint_file: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self._load(Path(checkpoint_file))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def command_line(words: Sequence[str]) -> Iterator[None]:
    """Let nnU-Net's commands, which parse `sys.argv`, see `words`."""
    previous = sys.argv
    sys.argv = list(words)
    try:
        yield
    finally:
        sys.argv = previous
