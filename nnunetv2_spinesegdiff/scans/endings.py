"""Endings of scan files, and what a result in the scan's own format is called."""

from __future__ import annotations

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
ZIP = ".zip"
OF_DICOM = ".nii.gz"
_IN_ONE_FILE = {".mhd": ".mha", ".nhdr": ".nrrd"}


def ending_of(name: str) -> str:
    """The ending of a scan file or a zip as the name spells it, such as ".NII.gz"; empty for other names."""
    return next((name[-len(known) :] for known in (*ENDINGS, ZIP) if name.lower().endswith(known)), "")


def is_scan_file(name: str) -> bool:
    return ending_of(name).lower() in ENDINGS


def ending_of_results(name: str) -> str:
    """Ending of one file in the format of a scan file of this name, lower case."""
    ending = ending_of(name).lower()
    return _IN_ONE_FILE.get(ending, ending)
