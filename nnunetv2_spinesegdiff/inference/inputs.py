"""Is a scan fit to be predicted? Asked before a network turns one bad pixel into an empty mask."""

from __future__ import annotations

import gzip

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter


def why_unfit(files: list[str], reader: BaseReaderWriter) -> str | None:
    """The reason why the channels of one case must not be predicted, naming the file; None where they may.

    z-scoring spreads one NaN or Inf over the whole image, and leaves nothing of a constant one: stock
    prediction answers both with a mask that means nothing, and with exit status 0.
    """
    for file in files:
        try:
            _check_gzip(file)
            image, _ = reader.read_images([file])
        except Exception as error:
            detail = str(error).strip().splitlines()
            return (
                f"{file}: cannot be read, is it truncated? ({detail[-1] if detail else type(error).__name__})"
            )
        if not np.isfinite(image).all():
            return f"{file}: holds NaN or Inf; replace them and predict this case again"
        if image.min() == image.max():
            return f"{file}: is constant, there is nothing to segment"
    return None


def _check_gzip(file: str) -> None:
    """Raises EOFError or zlib's error for a damaged .gz; ITK fills what is missing with zeros, silently."""
    if file.endswith(".gz"):
        with gzip.open(file) as stream:
            while stream.read(1 << 20):
                continue
