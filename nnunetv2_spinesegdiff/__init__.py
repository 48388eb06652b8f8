"""SpineSegDiff for nnU-Net v2: diffusion refinement and uncertainty for lumbar spine MR segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .segmentation.api import SpineSegmenter

__version__ = "0.1.0"
__all__ = ["SpineSegmenter", "__version__"]


def __getattr__(name: str) -> Any:
    # Later: importing torch takes seconds, and the command's help must answer at once.
    if name == "SpineSegmenter":
        from .segmentation.api import SpineSegmenter

        return SpineSegmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
