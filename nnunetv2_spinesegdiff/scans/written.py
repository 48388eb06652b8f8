"""Images as files: ITK's writers of NIfTI and NRRD say nothing where the disk is full."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ..errors import UserError
from ..files import written_whole
from .inflated import length_of_gzip
from .itk import is_utf8
from .refusal import Refusal

_NIFTI_HEADER = 352


def write_image(image: sitk.Image, path: Path) -> None:
    """Write a 3D image, compressed but for `.nii`. Whole or not at all.

    Args:
        path: ends in `.nii.gz`, `.nii`, `.mha` or `.nrrd`.

    Raises:
        UserError: the disk is full, or the name is none that ITK takes.
    """
    if not is_utf8(path):
        raise UserError(f"{str(path)!a}: is no name in UTF-8; choose another folder with -o")
    with written_whole(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=path.suffix != ".nii")
            whole = _is_whole(temporary, _bytes_of(image))
        except (RuntimeError, Refusal):
            whole = False
        if not whole:
            raise UserError(f"{path}: cannot be written whole, is the disk full? Make room and run again")


def _bytes_of(image: sitk.Image) -> int:
    return image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()


def _is_whole(path: Path, voxels: int) -> bool:
    if path.suffix == ".mha":
        return True  # of this one ITK complains itself
    if path.suffix == ".nii":
        return path.stat().st_size >= _NIFTI_HEADER + voxels
    with path.open("rb") as stream:
        header = _NIFTI_HEADER
        if path.suffix == ".nrrd":
            while stream.readline().strip():
                pass
            header = 0
        return length_of_gzip(stream) >= header + voxels
