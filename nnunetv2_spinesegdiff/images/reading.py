"""One scan, read and examined, or refused in one line."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..errors import UserError
from .dicom import ExamVolume, read_exam, read_zipped_exam
from .endings import OF_DICOM, ending_of_results
from .examination import examine
from .metaimage import read_metaimage
from .nifti import read_nifti
from .nrrd import read_nrrd
from .refusal import Refusal
from .scan import Scan, ScanSource


def read_scan(
    source: ScanSource, scratch: Path, *, series: str | None = None, any_plane: bool = False
) -> Scan:
    """Read a scan and examine whether it can be segmented.

    The image is what SimpleITK reads; only axes that miss right angles by at most a degree are put right,
    with a warning. Nothing is written beside the scan, and nothing is redirected or printed.

    Args:
        source: from `find_scans`.
        scratch: folder for temporary files that lives as long as the scan: the slices of a zip lie in it.
        series: of a DICOM exam, see `dicom_series.choose`; None takes the only sagittal one. It means nothing
            for other files.
        any_plane: take thick slices in other planes, too, with a warning.

    Raises:
        UserError: the file is missing or damaged, there is no or more than one series, or it is no scan that
            can be segmented; one line that names the file, the cause and what to do.
    """
    header = None
    try:
        if source.kind == "file":
            with tempfile.TemporaryDirectory(prefix="scan-", dir=scratch) as folder:
                image, warnings, header = _read_file(source.path, Path(folder))
            volume = ExamVolume(image, (), warnings)
        elif source.kind == "dicom":
            volume = read_exam(source.path, series, any_plane)
        else:
            volume = read_zipped_exam(source.path, scratch, series, any_plane)
        direction = volume.image.GetDirection()
        noticed = examine(volume.image, any_plane)
    except Refusal as refusal:
        raise UserError(f"{source.path}: {refusal}") from refusal
    except OSError as error:
        raise UserError(
            f"{source.path}: cannot be read ({error.strerror or error}); is it there, and is there room in "
            f"{scratch}?"
        ) from error
    ending = ending_of_results(source.path.name) if source.kind == "file" else OF_DICOM
    warnings = (*volume.warnings, *noticed)
    return Scan(source, volume.image, ending, warnings, volume.files, direction, header)


def _read_file(path: Path, folder: Path) -> tuple[sitk.Image, tuple[str, ...], Any]:
    """The image, warnings, and the header of a NIfTI file."""
    if not path.exists():
        raise Refusal("no such file, or a link that leads nowhere")
    ending = ending_of_results(path.name)
    if ending == ".mha":
        return read_metaimage(path, folder), (), None
    if ending == ".nrrd":
        return read_nrrd(path, folder), (), None
    return read_nifti(path, folder)
