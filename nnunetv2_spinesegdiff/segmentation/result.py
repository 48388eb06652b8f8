"""What is known of one scan after its segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from ..scans.scan import Scan


@dataclass(frozen=True)
class ShownSlice:
    """The slice for the picture: arrays (rows, columns), rows head to foot, columns front to back.

    Attributes:
        image, mask, uncertainty: intensities, labels and map.
        spacing: mm between rows, and between columns.
        highest: of the map's possible values; `measure` says what it shows.
    """

    image: np.ndarray
    mask: np.ndarray
    uncertainty: np.ndarray
    spacing: tuple[float, float]
    measure: str
    highest: float


@dataclass(frozen=True)
class Segmentation:
    """A segmented scan.

    Attributes:
        scan: that was read.
        mask: labels over the scan, uint8: 1 spinal canal, 2 vertebrae, 3 intervertebral discs; 0 in slices
            that were not segmented.
        uncertainty: over the scan, float32: entropy in nats, 0 to 0.37 (IISDM: variance, 0 to 0.25).
        measurements: rows of measurements.csv, see `measurements.COLUMNS`.
        warnings: what a reader of the results should know, a line each.
        shown: the slice that was measured.
        seconds: that all but reading and writing took.
    """

    scan: Scan
    mask: sitk.Image
    uncertainty: sitk.Image
    measurements: list[dict[str, Any]]
    warnings: list[str]
    shown: ShownSlice
    seconds: float

    @property
    def name(self) -> str:
        """Of the scan, and of its files."""
        return self.scan.source.name

    @property
    def table(self) -> pd.DataFrame:
        """`measurements` as a table."""
        return pd.DataFrame(self.measurements)

    def save(self, folder: str | Path, *, keep_format: bool = False, dicom_seg: bool = False) -> list[Path]:
        """Write mask, map and picture as `spinesegdiff segment` does; their paths, the mask first.

        Args:
            keep_format: in the scan's own format, not NIfTI.
            dicom_seg: also a DICOM segmentation of a DICOM scan.
        """
        from .outputs import Formats, ScanOutputs

        return ScanOutputs(Path(folder), self.name).write_files(self, Formats(keep_format, dicom_seg))
