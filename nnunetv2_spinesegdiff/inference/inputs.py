"""Check scans before prediction: one invalid pixel makes a network predict an empty mask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import UserError
from ..images.reading import read_image


def why_unfit(files: Iterable[str]) -> str | None:
    """Return why the channels of a case must not be predicted, naming the file; None if they may be.

    z-scoring spreads one NaN or Inf over the whole image, and leaves nothing of a constant one: stock
    prediction then writes a meaningless mask and exits with status 0.
    """
    for file in files:
        try:
            image = read_image(Path(file))
        except UserError as error:
            return str(error)
        voxels = sitk.GetArrayViewFromImage(image)
        if not np.isfinite(voxels).all():
            return f"{file}: holds NaN or Inf; replace them and predict this case again"
        if voxels.min() == voxels.max():
            return f"{file}: is constant, there is nothing to segment"
    return None
