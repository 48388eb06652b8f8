"""Endings of scan files, and what a result in the scan's own format is called."""

from __future__ import annotations

ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
ZIP = ".zip"
OF_DICOM = ".nii.gz"

OTHER_IMAGES = (
    *(".hdr", ".img", ".hdr.gz", ".img.gz"),  # Analyze, and NIfTI in two files
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".nii.lz4", ".mnc", ".mgz", ".mgh", ".par", ".rec"),
    *(".head", ".brik", ".brik.gz", ".mif", ".mif.gz", ".mih", ".gipl", ".gipl.gz", ".vti", ".vtk"),
)
"""Of volumes in formats that are not read, lower case. `.raw` and the like are parts of scans that are."""
_IN_ONE_FILE = {".mhd": ".mha", ".nhdr": ".nrrd"}


def ending_of(name: str) -> str:
    """The ending of a scan file or a zip as the name spells it, such as ".NII.gz"; empty for other names."""
    return next((name[-len(known) :] for known in (*ENDINGS, ZIP) if name.lower().endswith(known)), "")


def is_scan_file(name: str) -> bool:
    return ending_of(name).lower() in ENDINGS


def is_other_image(name: str) -> bool:
    """Whether a file of this name may be a scan in a format that is not read."""
    return name.lower().endswith(OTHER_IMAGES)


def ending_of_results(name: str) -> str:
    """Ending of one file in the format of a scan file of this name, lower case."""
    ending = ending_of(name).lower()
    return _IN_ONE_FILE.get(ending, ending)
