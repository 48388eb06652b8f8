"""Noise that depends only on the input: the same image gets the same noise in every batch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from .compiling import not_compiled

_FEWEST_FOR_THREADS = 4
"""A generator is drawn from by one thread; many chains keep a fast card waiting, unless several draw."""


def content_seed(image: Tensor, seed: int, sample: int) -> int:
    """A 63-bit seed from the pixels of one network input (C, *spatial), the user's seed and the chain's
    number.

    The pixels identify the case, the mirrored copy and the tile, and nothing else does. Other items of the
    batch, the order of cases and the number of chains have no influence.
    """
    pixels = image.detach().to("cpu", torch.float32).contiguous().numpy()
    digest = hashlib.sha256(f"{seed}/{sample}/{tuple(image.shape)}/".encode())
    digest.update(pixels.tobytes())
    return int.from_bytes(digest.digest()[:8], "little") >> 1


class CaseNoise:
    """Standard normal noise for a batch of images and S chains, one generator for each (image, chain).

    Drawn on the CPU, so that a GPU starts from the very same noise. Kept out of torch.compile, which cannot
    trace a hash and fails over it in inference mode.
    """

    @not_compiled
    def __init__(self, images: Tensor, seed: int, samples: Sequence[int]):
        """Args: images (B, C, *spatial); samples: the numbers of the chains, for instance range(0, S)."""
        self.device = images.device
        images = images.cpu()  # once, not once a chain
        self.generators = [
            torch.Generator().manual_seed(content_seed(image, seed, sample))
            for sample in samples
            for image in images
        ]

    @not_compiled
    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """Noise of shape (S * B, *shape), chain by chain, float32, on the device of the images."""
        draw = partial(torch.randn, shape)
        if len(self.generators) < _FEWEST_FOR_THREADS:
            drawn = [draw(generator=generator) for generator in self.generators]
        else:
            with ThreadPoolExecutor(min(len(self.generators), os.cpu_count() or 1)) as pool:
                drawn = list(pool.map(lambda generator: draw(generator=generator), self.generators))
        return torch.stack(drawn).to(self.device)
