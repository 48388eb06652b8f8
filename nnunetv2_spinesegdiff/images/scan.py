"""Scans and where they are stored, endings of file names, and reasons to reject a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import SimpleITK as sitk

Kind = Literal["file", "dicom", "dicom_zip"]

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
ZIP = ".zip"
_IN_ONE_FILE = {".mhd": ".mha", ".nhdr": ".nrrd"}

DAMAGED = "is truncated or damaged: copy or download it again"
NO_DIRECTIONS = "its orientation matrix is invalid (axis directions): correct the header or convert it again"


class Refusal(Exception):
    """Cause and advice in one line. The code that knows the file's name puts it in front."""


@dataclass(frozen=True)
class ScanSource:
    """Where a scan is stored. Its voxels have not been read.

    Attributes:
        name: of the scan's results: a file name without its ending, or the name of a folder.
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
        source: where it is stored.
        image: scalar 3D image in its own axes, their directions orthonormal.
        ending: of a file in the scan's own format, such as ".mha"; ".nii.gz" for DICOM.
        warnings: what a reader of the results should know, one line each.
        dicom_files: of a DICOM series, in the order of the image's slices; empty otherwise.
        direction: of the axes in the file, which `image` has at right angles.
        nifti_header: of a NIfTI file; None otherwise.
        dicom_frames: numbers from 0 of the frames that are the image's slices, if one enhanced DICOM file
            holds all of them; empty otherwise.
    """

    source: ScanSource
    image: sitk.Image
    ending: str
    warnings: tuple[str, ...] = ()
    dicom_files: tuple[Path, ...] = ()
    direction: tuple[float, ...] = ()
    nifti_header: Any = None
    dicom_frames: tuple[int, ...] = ()


def ending_of(name: str) -> str:
    """Return the ending of a scan file or zip as it is spelled, such as ".NII.gz"; "" for other names."""
    return next((name[-len(known) :] for known in (*ENDINGS, ZIP) if name.lower().endswith(known)), "")


def ending_of_results(name: str) -> str:
    """Return the lower-case ending of a single file in the format of a scan file."""
    ending = ending_of(name).lower()
    return _IN_ONE_FILE.get(ending, ending)


def is_utf8(path: Path) -> bool:
    """Whether ITK can open a path of this name; others end the process."""
    return os.fsencode(path).decode("utf-8", "ignore") == str(path)
