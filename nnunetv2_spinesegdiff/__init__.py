"""SpineSegDiff for nnU-Net v2: diffusion refinement and uncertainty for lumbar spine MR segmentation."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError
from .examples import example_scans

if TYPE_CHECKING:
    from .segmentation.api import SpineSegmenter
    from .segmentation.many import Failure
    from .segmentation.result import Segmentation

__version__ = "0.1.0"
__all__ = ["Failure", "Segmentation", "SpineSegmenter", "UserError", "__version__", "example_scans"]

_LATER = {"Failure": "many", "Segmentation": "result", "SpineSegmenter": "api"}
"""Modules of `segmentation`: importing torch takes seconds, and the command's help must answer at once."""

_CLONE = Path(__file__).resolve().parents[1]
if not (_CLONE / __name__ / "dataset_conversion").is_dir() and (_CLONE / "dataset_conversion").is_dir():
    # Python started in a clone imports the clone's package, without the mapping of folders in setup.cfg.
    __path__.append(str(_CLONE))


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".segmentation.{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
