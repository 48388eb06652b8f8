"""nnU-Net's predictor, imported without torch's compiler, of which it uses the name of one class."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_PREDICTOR = "nnunetv2.inference.predict_from_raw_data"


class _IsOptimized(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        compiler = sys.modules.get(_COMPILER)
        real = getattr(compiler, "OptimizedModule", cls)
        return real is not cls and isinstance(instance, real)


class OptimizedModule(metaclass=_IsOptimized):
    """Stands for `torch._dynamo.OptimizedModule` in `isinstance`: as long as torch's compiler is not loaded,
    nothing is compiled."""

    _orig_mod: Any


def _imported() -> ModuleType:
    """Import nnU-Net's module; its import of `OptimizedModule` gets the class above.

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


stock: Any = _imported()
"""`nnunetv2.inference.predict_from_raw_data`."""
