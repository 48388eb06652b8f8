"""Reader of images: files, DICOM exams and zips. Every image is checked."""

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
        path: a .nii, .nii.gz, .mha, .mhd, .nrrd or other file.
        placed: False also reads files that do not state the orientation of their axes, as ITK does.

    Returns:
        The image, with spacing and origin in mm.

    Raises:
        UserError: the file is missing, truncated or damaged, or its header is invalid.

    Examples:
        >>> from nnunetv2_spinesegdiff import example_scans
        >>> read_image(example_scans()[0]).GetSize()
        (512, 649, 1)
    """
    with _errors_name(path):
        return _read_file(path, None, placed)[0]


def read_scalar_volume(path: Path, placed: bool = True) -> sitk.Image:
    """Read an image with `read_image` and check that it has three dimensions and one value per voxel."""
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
    """Read a scan and check that it can be segmented. Nothing is printed or written next to the scan.

    Args:
        source: a result of `find_scans`.
        scratch: folder for temporary files. It must exist as long as the scan is used, because it holds the
            slices of a zip.
        series: number, UID or description of the series in a DICOM exam, see `dicom_series.choose`. The
            default is the only sagittal series. In a NIfTI file with several volumes: number of the volume,
            from 1. Ignored for other files.
        any_plane: also accept thick axial and coronal slices, with a warning.

    Returns:
        The scan, with spacing and origin in mm and a list of warnings.

    Raises:
        UserError: the scan is missing or damaged, no series or several series match, or it cannot be
            segmented.

    Examples:
        >>> from pathlib import Path
        >>> from nnunetv2_spinesegdiff import example_scans
        >>> from nnunetv2_spinesegdiff.images.finding import find_scans
        >>> (source,) = find_scans(example_scans()[1])
        >>> scan = read_scan(source, scratch=Path("."))
        >>> scan.source.name, [round(mm, 2) for mm in scan.image.GetSpacing()]
        ('81_t2', [0.59, 0.59, 3.3])
    """
    with _errors_name(source.path, f", and is there room in {scratch}"):
        if source.kind != "file":
            return _examined(read_exam(source, scratch, series, any_plane), any_plane)
        image, warnings, header = _read_file(source.path, series or "", True)
        ending = ending_of_results(source.path.name)
        return _examined(Scan(source, image, ending, tuple(warnings), nifti_header=header), any_plane)


def scan_of(image: sitk.Image, name: str = "scan", *, any_plane: bool = False) -> Scan:
    """Check a copy of an image in memory, as `read_scan` checks an image from a file."""
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
