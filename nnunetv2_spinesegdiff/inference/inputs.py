"""Check scans before prediction: one invalid pixel makes a network predict an empty mask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from ..errors import UserError
from ..images.reading import check_file
from ..images.scan import ending_of_results
from ..text import reason_of


def why_unfit(files: Iterable[str], reader: BaseReaderWriter) -> str | None:
    """Return why the channels of a case must not be predicted, naming the file; None if they may be.

    z-scoring spreads one NaN or Inf over the whole image, and leaves nothing of a constant one: stock
    prediction then writes a meaningless mask and exits with status 0. Nothing else is checked of what
    nnU-Net's `reader` accepts, such as scans without a position in the patient.
    """
    for file in files:
        try:
            if ending_of_results(Path(file).name):
                check_file(Path(file))
            voxels, _ = reader.read_images([file])
        except UserError as error:
            return str(error)
        except Exception as error:  # readers of many formats
            return f"{file}: cannot be read ({reason_of(error)})"
        if not np.isfinite(voxels).all():
            return f"{file}: holds NaN or Inf; replace them and predict this case again"
        if voxels.min() == voxels.max():
            return f"{file}: is constant, there is nothing to segment"
    return None
