"""Scans and where they are stored, endings of file names, and reasons to reject a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import SimpleITK as sitk

from ..errors import UserError

if TYPE_CHECKING:
    from nibabel import Nifti1Header

    from .dicom_files import DicomSlice

Kind = Literal["file", "dicom", "dicom_zip"]

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
ZIP = ".zip"
_IN_ONE_FILE = {".mhd": ".mha", ".nhdr": ".nrrd"}

DAMAGED = "is truncated or damaged: copy or download it again"
PLACELESS = "so left and right cannot be determined: convert the original again"
NO_DIRECTIONS = "its orientation matrix is invalid (axis directions): correct the header or convert it again"


class Refusal(Exception):
    """Cause and advice in one line. The code that knows the file's name puts it in front."""


@dataclass(frozen=True)
class ScanSource:
    """Location of a scan whose voxels have not been read.

    Attributes:
        name: name of the scan and of its results: a file name without its ending, or the name of a folder.
        path: the file, the folder of a DICOM exam, or the zip of one.
        kind: "file", "dicom" or "dicom_zip".
    """

    name: str
    path: Path
    kind: Kind


@dataclass(frozen=True)
class Scan:
    """A scan that was read.

    Attributes:
        source: location of the scan.
        image: 3D image with one value per voxel, in the axes of the file, spacing and origin in mm.
        ending: ending of a file in the scan's own format, such as ".mha"; ".nii.gz" for DICOM.
        warnings: facts that a reader of the results should know, one line each.
        slices: slices of a DICOM series, in the order of the image's slices.
        direction: orientation matrix of the file. That of `image` is orthonormal.
        nifti_header: header of a NIfTI file.
    """

    source: ScanSource
    image: sitk.Image
    ending: str
    warnings: tuple[str, ...] = ()
    slices: tuple[DicomSlice, ...] = ()
    direction: tuple[float, ...] = ()
    nifti_header: Nifti1Header | None = None

    @property
    def dicom_files(self) -> tuple[Path, ...]:
        """The files of the slices, in their order and each once."""
        return tuple(dict.fromkeys(one.path for one in self.slices))


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


def folders_below(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """List a folder and those in it at any depth, each with its files, sorted and without hidden ones.

    Links are followed. Every folder is listed once, at its place without links if it has one.
    """

    def fail(error: OSError) -> None:
        raise UserError(error.filename, f"cannot be listed ({error.strerror})", "make it readable") from error

    seen, waiting = set[str](), [root]
    while waiting:
        for name, folders, files in os.walk(waiting.pop(0), onerror=fail):
            real = os.path.realpath(name)
            folders[:] = sorted(inner for inner in folders if inner[0] != "." and real not in seen)
            if real not in seen:
                seen.add(real)
                place = Path(name)
                waiting += [place / inner for inner in folders if (place / inner).is_symlink()]
                yield place, [place / file for file in sorted(files) if file[0] != "."]


def files_below(root: Path) -> list[Path]:
    """List the files of all `folders_below`."""
    return [file for _, files in folders_below(root) for file in files]
