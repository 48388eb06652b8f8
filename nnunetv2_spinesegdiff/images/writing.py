"""Images as files. ITK's writer of NRRD says nothing if the disk is full."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ..errors import UserError
from ..files import written_whole
from .inflated import length_of_gzip
from .itk import is_utf8
from .nifti import save_nifti
from .refusal import Refusal
from .scan import Scan


def write_image(image: sitk.Image, path: Path, over: Scan | None = None) -> None:
    """Write a 3D image, compressed but for `.nii`. Whole or not at all.

    Args:
        path: ends in `.nii.gz`, `.nii`, `.mha` or `.nrrd`.
        over: scan on whose grid the image is; the file gets the geometry that the scan's header has.

    Raises:
        UserError: the disk is full, or the name is none that ITK takes.
    """
    if not is_utf8(path):
        raise UserError(f"{str(path)!a}: is no name in UTF-8; choose another folder with -o")
    if over is not None and over.direction:
        image = sitk.Image(image)
        image.SetDirection(over.direction)
    with written_whole(path) as temporary:
        try:
            if path.name.endswith((".nii", ".nii.gz")):
                save_nifti(image, temporary, over and over.nifti_header)
                whole = True
            else:
                sitk.WriteImage(image, str(temporary), useCompression=True)
                whole = path.suffix == ".mha" or _is_whole_nrrd(temporary, image)
        except (OSError, RuntimeError, Refusal):
            whole = False
        if not whole:
            raise UserError(f"{path}: cannot be written whole, is the disk full? Make room and run again")


def _is_whole_nrrd(path: Path, image: sitk.Image) -> bool:
    with path.open("rb") as stream:
        while stream.readline().strip():
            pass
        return length_of_gzip(stream) >= image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
