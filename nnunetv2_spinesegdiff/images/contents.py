"""What a scan consists of, so that another scan of the same name is recognized as another one."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import digest
from .dicom import files_below
from .itk import read_header
from .scan import Refusal, ScanSource


def contents_of(source: ScanSource) -> list[list[str]]:
    """Return the name and SHA-256 of every file of a scan, sorted; for an unreadable file, the cause instead.

    Neither folder nor times count: a scan that was moved is the same, and another patient's scan of the same
    name, size and time is not. With a header, the file with its voxels counts; if they are in several files,
    all files in the folder do.
    """
    root = source.path if source.path.is_dir() else source.path.parent
    return sorted([os.path.relpath(file, root), _digest(file)] for file in _files(source.path))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return list(files_below(path))
    if not path.name.lower().endswith((".mhd", ".nhdr")):
        return [path]
    try:
        voxels = read_header(path).data
    except (Refusal, OSError, ValueError):
        return [path]  # the reader reports it
    return [path, voxels] if voxels else [file for file in path.parent.iterdir() if file.is_file()]


def _digest(file: Path) -> str:
    try:
        return digest(file)
    except OSError as error:
        return f"{error.strerror or error}"
