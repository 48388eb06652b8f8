"""The one reader of images: files, DICOM exams and zips become images that were checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk
from nibabel import Nifti1Header

from ..errors import UserError
from . import itk, nifti
from .dicom import read_exam
from .examination import check_kind, examine
from .scan import Refusal, Scan, ScanSource, ending_of_results


def read_image(path: Path, placed: bool = True) -> sitk.Image:
    """Read an image, a mask or a map from a file in any format of SimpleITK.

    NIfTI is read by nibabel, with its axes corrected if they miss right angles by less than a degree.

    Args:
        placed: False also reads files that do not state how their axes run in the patient, as ITK does.

    Raises:
        UserError: it is missing, truncated, damaged, or has an invalid header.
    """
    with _errors_name(path):
        return _read_file(path, None, placed)[0]


def read_scalar_volume(path: Path, placed: bool = True) -> sitk.Image:
    """Read an image as `read_image`, which must have three dimensions and one value per voxel."""
    with _errors_name(path):
        image = _read_file(path, None, placed)[0]
        check_kind(image.GetDimension(), image.GetNumberOfComponentsPerPixel())
        return image


def check_file(path: Path) -> None:
    """Raise a UserError if a file with one or more images is missing, truncated or damaged."""
    with _errors_name(path):
        if ending_of_results(path.name).startswith(".nii"):
            nifti.read_stored(path)
        else:
            itk.check_bytes(path)
            itk.read_image(path)


def read_scan(
    source: ScanSource, scratch: Path, *, series: str | None = None, any_plane: bool = False
) -> Scan:
    """Read a scan and examine whether it can be segmented. Nothing is written next to the scan, or printed.

    Args:
        source: from `find_scans`.
        scratch: folder for temporary files that exists as long as the scan: the slices of a zip are in it.
        series: of a DICOM exam, see `dicom_series.choose`; None takes the only sagittal one. Of a NIfTI file
            with several volumes, the number of one of them, from 1. Ignored for other files.
        any_plane: accept thick slices in other planes, too, with a warning.

    Raises:
        UserError: it is missing or damaged, no or several series match, or it cannot be segmented.
    """
    with _errors_name(source.path, f", and is there room in {scratch}"):
        if source.kind != "file":
            return _examined(read_exam(source, scratch, series, any_plane), any_plane)
        image, warnings, header = _read_file(source.path, series or "", True)
        ending = ending_of_results(source.path.name)
        return _examined(Scan(source, image, ending, tuple(warnings), nifti_header=header), any_plane)


def scan_of(image: sitk.Image, name: str = "scan", *, any_plane: bool = False) -> Scan:
    """Examine a copy of an image in memory as `read_scan` does one from a file."""
    with _errors_name(Path(name)):
        return _examined(Scan(ScanSource(name, Path(name), "file"), sitk.Image(image), ".nii.gz"), any_plane)


def _examined(scan: Scan, any_plane: bool) -> Scan:
    direction = scan.image.GetDirection()
    return replace(scan, warnings=scan.warnings + examine(scan.image, any_plane), direction=direction)


def _read_file(
    path: Path, volume: str | None, placed: bool
) -> tuple[sitk.Image, list[str], Nifti1Header | None]:
    """The image, warnings, and the header of a NIfTI file."""
    if not path.exists():
        raise Refusal("no such file, or a broken link")
    if ending_of_results(path.name).startswith(".nii"):
        return nifti.read_nifti(path, volume, placed)
    return itk.read_checked(path, placed), [], None


@contextmanager
def _errors_name(path: Path, hint: str = "") -> Iterator[None]:
    """Turn errors of a file into a `UserError` that names it."""
    try:
        yield
    except Refusal as refusal:
        raise UserError(path, f"{refusal}") from refusal
    except OSError as error:
        cause = error.strerror or error
        raise UserError(path, f"cannot be read ({cause})", f"is it a readable file{hint}?") from error
