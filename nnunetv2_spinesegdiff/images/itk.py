"""ITK's readers, whose complaints become one line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from .refusal import DAMAGED, Refusal

_WHO_SAID_IT = re.compile(r"^ITK ERROR: (\w+\(0x[0-9a-f]+\): )?")


def read_image(files: Sequence[Path], image_io: str, kind: int = sitk.sitkUnknown) -> sitk.Image:
    """What ITK reads, whatever the case of the files' endings.

    Args:
        files: one, or the slices of a series in order.
        image_io: ITK's name of the format.
        kind: type of the voxels; without it the files' own, of a series that of its last file.

    Raises:
        Refusal: ITK cannot read it.
    """
    names = [name_for_itk(file) for file in files]
    reader = sitk.ImageFileReader() if len(files) == 1 else sitk.ImageSeriesReader()
    reader.SetImageIO(image_io)
    reader.SetOutputPixelType(kind)
    if isinstance(reader, sitk.ImageFileReader):
        reader.SetFileName(names[0])
    else:
        reader.SetFileNames(names)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise Refusal(_in_words(str(error))) from error


def bytes_of_voxels(file: Path, image_io: str) -> int:
    """How many bytes the voxels have that a header announces.

    Raises:
        Refusal: ITK cannot read the header.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(name_for_itk(file))
    try:
        reader.ReadImageInformation()
        count = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID()).GetSizeOfPixelComponent()
    except RuntimeError as error:
        raise Refusal(_in_words(str(error))) from error
    for number in (reader.GetNumberOfComponents(), *reader.GetSize()):
        count *= number
    return count


def name_for_itk(file: Path) -> str:
    """The name as ITK takes it; with bytes that are no UTF-8, as old archives have them, it ends the process.

    Raises:
        Refusal: it has such bytes.
    """
    if not is_utf8(file):
        raise Refusal(f"{file.name!a} is no name in UTF-8, or lies in a folder without one: rename it")
    return str(file)


def is_utf8(file: Path) -> bool:
    return os.fsencode(file).decode("utf-8", "ignore") == str(file)


def _in_words(said: str) -> str:
    lines = said.strip().splitlines() or [""]
    if "change spacing" in said:
        return "a voxel size in its header is 0 or no number: correct the header or export it again"
    if "determinant" in said or "orthonormal direction" in said:
        return "the directions of its axes are no directions: correct the header or export it again"
    return f"cannot be read, {DAMAGED.removeprefix('is ')} ({_WHO_SAID_IT.sub('', lines[-1]).strip()})"
