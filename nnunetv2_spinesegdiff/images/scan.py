"""What the rest of the package knows of a scan, whatever file it came in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import SimpleITK as sitk

Kind = Literal["file", "dicom", "dicom_zip"]


@dataclass(frozen=True)
class ScanSource:
    """Where one scan lies. Its voxels have not been looked at.

    Attributes:
        name: of the scan's results: a file name without its ending, or a folder's name.
        path: the file, the folder of a DICOM exam, or its zip.
        kind: which of these.
    """

    name: str
    path: Path
    kind: Kind


@dataclass(frozen=True)
class Scan:
    """A scan that was read.

    Attributes:
        source: where it lies.
        image: scalar 3D image in its own axes, their directions orthonormal.
        ending: of a file in the scan's own format, such as ".mha"; ".nii.gz" for DICOM.
        warnings: what a reader of the results should know, a line each.
        dicom_files: of a DICOM series, in the order of the image's slices; empty otherwise.
        direction: of the axes in the file, which `image` has at right angles.
        nifti_header: of a NIfTI file; None otherwise.
    """

    source: ScanSource
    image: sitk.Image
    ending: str
    warnings: tuple[str, ...] = ()
    dicom_files: tuple[Path, ...] = ()
    direction: tuple[float, ...] = ()
    nifti_header: Any = None
