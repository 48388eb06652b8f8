"""The one writer of images. ITK's writer of NRRD reports no error if the disk is full."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ..errors import UserError
from ..files import written_whole
from .itk import check_bytes
from .nifti import save_nifti
from .scan import Refusal, Scan, is_utf8


def write_image(image: sitk.Image, path: Path, over: Scan | None = None, comment: str = "") -> None:
    """Write an image completely or not at all, compressed except for `.nii`.

    Args:
        path: ends in `.nii.gz`, `.nii`, `.mha` or `.nrrd`.
        over: scan on whose grid the image is; the file gets the geometry in the scan's header.
        comment: stored in a header extension of NIfTI files, and nowhere in others.

    Raises:
        UserError: the disk is full, or ITK cannot open a file of this name.
    """
    if not is_utf8(path):
        raise UserError(f"{str(path)!a}", "this name is not UTF-8", "choose another folder with -o")
    if over is not None and over.direction:
        image = _turned(image, over.direction)
    with written_whole(path) as temporary:
        try:
            if path.name.endswith((".nii", ".nii.gz")):
                save_nifti(image, temporary, over.nifti_header if over else None, comment)
            else:
                sitk.WriteImage(image, str(temporary), useCompression=True)
                check_bytes(temporary)
        except (OSError, RuntimeError, Refusal) as error:
            advice = "is the disk full? Make room and run again"
            raise UserError(path, "cannot be written completely", advice) from error


def _turned(image: sitk.Image, direction: tuple[float, ...]) -> sitk.Image:
    """Copy an image with another direction and all its header fields.

    SimpleITK drops the header fields of a copy at its first change, unless the original no longer exists.
    """
    turned = sitk.Image(image)
    turned.SetDirection(direction)
    for key in image.GetMetaDataKeys():
        turned.SetMetaData(key, image.GetMetaData(key))
    return turned
