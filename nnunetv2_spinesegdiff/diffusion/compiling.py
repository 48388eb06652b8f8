"""Functions that torch.compile must leave alone, without loading the compiler to say so.

`torch.compiler.disable` imports `torch._dynamo`: a third of the start-up of a prediction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])

_postponed: list[Callable[[], None]] = []


def not_compiled(function: Function | None = None, *, recursive: bool = True) -> Any:
    """Like `torch.compiler.disable`, but only once something may be compiled.

    That is at once if torch's compiler is imported already, as by nnU-Net's trainers and its own predictor,
    or else when `compiler_in_use` is called.

    Args:
        function: to decorate; None returns a decorator.
        recursive: whether what the function calls is left alone, too.
    """
    if function is None:
        return lambda function: not_compiled(function, recursive=recursive)
    if "torch._dynamo" in sys.modules:
        return torch.compiler.disable(function, recursive=recursive)
    called: list[Callable[..., Any]] = [function]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return called[0](*args, **kwargs)

    def disable() -> None:
        called[0] = torch.compiler.disable(function, recursive=recursive)

    _postponed.append(disable)
    return call


def compiler_in_use() -> None:
    """Disable compilation of all functions for which that was postponed."""
    while _postponed:
        _postponed.pop()()
