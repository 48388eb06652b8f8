"""What is known of one scan after its segmentation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from ..errors import UserError, writing
from ..images.dicom_seg import check_highdicom
from ..images.scan import Scan
from .measurements import table_of
from .outputs import Formats, ScanOutputs


@dataclass(frozen=True)
class ScanLevels:
    """The vertebrae and discs of a scan, by number and name.

    Attributes:
        image: SPIDER's numbers over the scan, uint8: vertebrae from 1, the lowest lumbar one, upward, 100
            more if cut off by the edge of the image; discs from 201, the one on the sacrum; canal 100. S1 is
            25, the disc S1-S2 is 225. Parts of less than 10 mm² in a slice have no number.
        names: of the numbers in the image: "L5", "L5-S1", "spinal canal".
        confidence: of the names: "high", "moderate", "low", or "given" by the user.
        basis: how the names were determined.
    """

    image: sitk.Image
    names: dict[int, str]
    confidence: str
    basis: str


@dataclass(frozen=True)
class ShownSlice:
    """The slice for the picture: arrays (rows, columns), rows head to foot, columns front to back.

    Attributes:
        image, mask, uncertainty: intensities, labels and map.
        numbers: of vertebrae and discs, as in `ScanLevels`.
        spacing: mm between rows, and between columns.
        highest: of the map's possible values; `measure` states what it shows.
    """

    image: np.ndarray
    mask: np.ndarray
    uncertainty: np.ndarray
    numbers: np.ndarray
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
        levels: numbers and names of the vertebrae and discs.
        measurements: rows of measurements.csv, see `measurements.COLUMNS`.
        warnings: what a reader of the results should know, a line each.
        shown: the slice that was measured.
        seconds: that all but reading and writing took.
    """

    scan: Scan
    mask: sitk.Image
    uncertainty: sitk.Image
    levels: ScanLevels
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
        """`measurements` as the table that measurements.csv is written from, see `measurements.table_of`."""
        return table_of(self.measurements)

    def save(
        self,
        folder: str | Path,
        *,
        keep_format: bool = False,
        dicom_seg: bool = False,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write mask, map, levels and picture as `spinesegdiff segment` does; their paths, the mask first.

        Args:
            folder: made where it is not there.
            keep_format: in the scan's own format, not NIfTI.
            dicom_seg: also a DICOM segmentation of a DICOM scan.
            overwrite: replace files of these names.

        Raises:
            UserError: a file exists already, the folder cannot be written, or a DICOM segmentation cannot
                be made.
        """
        outputs, formats = ScanOutputs(Path(folder), self.name), Formats(keep_format, dicom_seg)
        existing = [path for path in outputs.files_of(self.scan, formats) if os.path.lexists(path)]
        if existing and not overwrite:
            raise UserError(
                existing[0], "already exists", "choose another folder, or replace it with overwrite=True"
            )
        if dicom_seg:
            self._check_dicom()
        with writing(Path(folder), "make room, or choose another"):
            return outputs.write_files(self, formats)

    def _check_dicom(self) -> None:
        """Before the other files are written."""
        check_highdicom()
        zipped = self.scan.source.kind == "dicom_zip"
        if zipped and not all(file.exists() for file in self.scan.dicom_files):
            raise UserError(
                self.scan.source.path,
                "what was unpacked of it is gone",
                "save a DICOM segmentation before the next scan is asked for",
            )
