"""JPEG 2000 states whether its values are signed, and so does the header of the DICOM file around it.

GDCM and pydicom believe the header (PixelRepresentation). Where the two differ, values in the upper half of
the range have another meaning: negative ones become the largest ones, or the other way round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .refusal import Refusal

_JPEG2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203))
"""Transfer syntaxes of JPEG 2000 and of its high-throughput variant (DICOM PS3.5, annex A.4)."""
_START_AND_SIZE = b"\xff\x4f\xff\x51"
_SIGN = 42
"""Offset in the code stream of the first component's precision and sign (ISO 15444-1, A.5.1)."""


def refuse_other_sign(path: Path, name: str, values: np.ndarray, rescale: tuple[float, float]) -> None:
    """Refuse a JPEG 2000 image with values whose sign depends on which of its headers is right.

    Args:
        path, name: of the file, and what it is called in a message.
        values: as decoded by GDCM, rescaled.
        rescale: slope and intercept of these values.

    Raises:
        Refusal: the headers differ, and a value is negative or in the upper half of the range.
    """
    sign = _sign_of_jpeg2000(path)
    if sign is None:
        return
    signed_in_stream, signed_in_header, bits = sign
    slope, intercept = rescale
    # The range of the stored values, whatever the sign of the slope is.
    ends = [(float(end) - intercept) / slope for end in (values.min(), values.max())]
    half = 2.0 ** (bits - 1)
    if signed_in_stream != signed_in_header and (min(ends) < -0.5 or max(ends) > half - 0.5):
        words = {True: "signed", False: "unsigned"}
        raise Refusal(
            f"its image {name} has {words[signed_in_header]} values by PixelRepresentation and "
            f"{words[signed_in_stream]} ones by its JPEG 2000 data: export the series again, uncompressed"
        )


def _sign_of_jpeg2000(path: Path) -> tuple[bool, bool, int] | None:
    """Whether values are signed by the code stream and by the header, and their bits; None if it has none."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") not in _JPEG2000:
            return None
        image = dcmread(path)
    except InvalidDicomError:  # without the preamble, so not compressed
        return None
    start = image.PixelData.find(_START_AND_SIZE)
    if start < 0:
        return None
    sign_and_precision = image.PixelData[start + _SIGN]
    return sign_and_precision > 127, image.get("PixelRepresentation") == 1, sign_and_precision % 128 + 1
