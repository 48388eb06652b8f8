"""An image that the caller has read, as a scan."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ..errors import UserError
from .examination import examine
from .refusal import Refusal
from .scan import Scan, ScanSource


def scan_of(image: sitk.Image, name: str = "scan", *, any_plane: bool = False) -> Scan:
    """Examine an image as `read_scan` examines one from a file; the caller's image is not changed.

    Raises:
        UserError: it is no scan that can be segmented; one line.
    """
    direction = image.GetDirection()
    image = sitk.Image(image)
    try:
        warnings = examine(image, any_plane)
    except Refusal as refusal:
        raise UserError(f"{name}: {refusal}") from refusal
    return Scan(ScanSource(name, Path(name), "file"), image, ".nii.gz", warnings, direction=direction)
