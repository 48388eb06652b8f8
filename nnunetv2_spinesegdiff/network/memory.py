"""Number of inputs of the denoiser that fit in one batch."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..diffusion.compiling import not_compiled

CPU_BYTES = 320 * 2**20
"""Larger batches are not faster on a CPU (measured: four slices of 320 x 320)."""
GPU_SHARE = 0.5
"""Of the free memory: what is planned with is an estimate, and results need room, too."""
MOST_ITEMS = 32


@not_compiled  # compiled, it would know for ever what memory was free at the first call
def items_that_fit(encoder: Any, image: Tensor) -> int:
    """How many images like `image` (B, C, *spatial) the U-Net of `encoder` takes side by side, at least 1.

    An estimate: the skips of all stages and four maps at full resolution. Who runs out of memory all the same
    halves it. On a GPU a power of two: few sizes, for each of which cuDNN looks for the fastest algorithms.
    """
    size = prod(image.shape[2:])
    elements = 4 * encoder.output_channels[0] * size
    for channels, stride in zip(encoder.output_channels, encoder.strides, strict=True):
        size //= prod(stride)
        elements += channels * size
    device = image.device.type
    bytes_each = elements * (2 if torch.is_autocast_enabled(device) else 4)
    if device != "cuda":
        return max(1, min(int(CPU_BYTES // bytes_each), MOST_ITEMS))
    items = min(int(_free_on_gpu(image.device) * GPU_SHARE // bytes_each), MOST_ITEMS)
    return 2 ** max(0, items.bit_length() - 1)


def _free_on_gpu(device: torch.device) -> int:
    """Bytes, with those that torch holds but does not use: it keeps what an earlier input needed."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
