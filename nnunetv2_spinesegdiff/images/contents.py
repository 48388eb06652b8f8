"""What a scan is made of, so that another one under its name is known for another one."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import digest
from .dicom import files_below
from .endings import ending_of
from .metaimage import data_file as data_of_metaimage
from .nrrd import data_file as data_of_nrrd
from .refusal import Refusal
from .scan import ScanSource

_DATA_FILE_OF = {".mhd": data_of_metaimage, ".nhdr": data_of_nrrd}


def contents_of(source: ScanSource) -> list[list[str]]:
    """Name and SHA-256 of every file of a scan, sorted; in place of that of one that cannot be read, why not.

    Neither the folder nor times count: a scan that was moved is the same, and another patient's of the same
    name, size and time, as archives and scripts make them, is not. Of a header that stands apart, its voxels'
    file counts; where they are in several, all files beside it do.
    """
    root = source.path if source.path.is_dir() else source.path.parent
    return sorted([os.path.relpath(file, root), _digest(file)] for file in _files(source))


def _files(source: ScanSource) -> list[Path]:
    if source.path.is_dir():
        return list(files_below(source.path))
    data_file = _DATA_FILE_OF.get(ending_of(source.path.name).lower())
    if data_file is None:
        return [source.path]
    try:
        voxels = data_file(source.path)
    except (Refusal, OSError, ValueError):
        return [source.path]  # whoever reads it will tell
    beside = (file for file in source.path.parent.iterdir() if file.is_file())
    return [source.path, voxels] if voxels is not None else list(beside)


def _digest(file: Path) -> str:
    try:
        return digest(file)
    except OSError as error:
        return f"{error.strerror or error}"
