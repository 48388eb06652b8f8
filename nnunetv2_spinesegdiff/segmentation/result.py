"""The result of segmenting one scan."""

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
        image: intensities.
        mask: labels.
        uncertainty: uncertainty map.
        numbers: numbers of vertebrae and discs, as in `ScanLevels`.
        spacing: distance between rows and between columns, in mm.
        measure: what the map shows, with its unit.
        highest: the largest value that the map can have.
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
        scan: the scan that was read.
        mask: labels on the scan's grid, uint8: 1 spinal canal, 2 vertebrae, 3 intervertebral discs. Slices
            that were not segmented are 0.
        uncertainty: map on the scan's grid, float32: the probability that the label is wrong, 0 to 0.75, or
            what `uncertainty_map` chose.
        levels: numbers and names of the vertebrae and discs.
        measurements: rows of measurements.csv, in mm, mm2 and mm3.
        warnings: facts that a reader of the results should know, one line each.
        shown: the slice that was measured.
        seconds: duration without reading and writing, in s.

    Examples:
        >>> from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
        >>> with SpineSegmenter(preset="fast", device="cpu") as segmenter:
        ...     result = segmenter.segment(example_scans()[1])
        >>> [path.name for path in result.save("out")][:3]
        ['81_t2_seg.nii.gz', '81_t2_uncertainty.nii.gz', '81_t2_levels.nii.gz']
        >>> result.levels.names[201]
        'L5-S1'
        >>> discs = result.table[result.table.structure == "ivd"].set_index("number")
        >>> bool(4 < discs.height_mm[1] < 15)  # height of the lowest disc, in mm
        True
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
        """Name of the scan and of its files."""
        return self.scan.source.name

    @property
    def table(self) -> pd.DataFrame:
        """The measurements as a table, with the columns of measurements.csv and NaN for missing values."""
        return table_of(self.measurements)

    def save(
        self,
        folder: str | Path,
        *,
        keep_format: bool = False,
        dicom_seg: bool = False,
        rtstruct: bool = False,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the mask, the map, the levels and the picture that `spinesegdiff segment` writes.

        Args:
            folder: output folder. It is created if it does not exist.
            keep_format: write masks and maps in the scan's own format instead of NIfTI.
            dicom_seg: also write a DICOM segmentation. The scan must be DICOM.
            rtstruct: also write a DICOM RT structure set. The scan must be DICOM.
            overwrite: replace existing files.

        Returns:
            Paths of the files, the mask first.

        Raises:
            UserError: a file already exists, the folder is not writable, or the DICOM segmentation or RT
                structure set cannot be made.
        """
        outputs, formats = ScanOutputs(Path(folder), self.name), Formats(keep_format, dicom_seg, rtstruct)
        existing = [path for path in outputs.files_of(self.scan, formats) if os.path.lexists(path)]
        if existing and not overwrite:
            raise UserError(
                existing[0], "already exists", "choose another folder, or replace it with overwrite=True"
            )
        if dicom_seg:
            check_highdicom()
        if formats.dicom:
            self._check_dicom()
        with writing(Path(folder), "make room, or choose another"):
            return outputs.write_files(self, formats)

    def _check_dicom(self) -> None:
        """Raise `UserError` before any file is written."""
        if not self.scan.dicom_files:
            raise UserError(self.scan.source.path, "is not a DICOM series", "save it without DICOM results")
        zipped = self.scan.source.kind == "dicom_zip"
        if zipped and not all(file.exists() for file in self.scan.dicom_files):
            raise UserError(
                self.scan.source.path,
                "its unpacked files were removed",
                "save DICOM results before the next scan is asked for",
            )
