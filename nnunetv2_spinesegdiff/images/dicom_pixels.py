"""Pixel data that GDCM decodes without a word although their headers contradict them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .scan import DAMAGED, Refusal

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", _BIG_ENDIAN)
"""Transfer syntaxes of pixels that are not compressed, or only together with the whole file."""
_JPEG2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203))
"""Transfer syntaxes of JPEG 2000 and of its high-throughput variant (DICOM PS3.5, annex A.4)."""
_START_AND_SIZE = b"\xff\x4f\xff\x51"
_SIGN = 42
"""Offset in the code stream of the first component's precision and sign (ISO 15444-1, A.5.1)."""
_TAGS = (
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData"),
)


def refuse_contradictions(path: Path, name: str, values: np.ndarray, rescale: tuple[float, float]) -> None:
    """Refuse an image whose pixel data can be understood in two ways.

    Args:
        path, name: of the file, and what it is called in a message.
        values: as decoded by GDCM, rescaled.
        rescale: slope and intercept of these values.

    Raises:
        Refusal: there are fewer pixels than the header states; pixels use more bits than BitsStored and
            HighBit contradicts BitsStored; or JPEG 2000 data and header state different signs, and a value
            depends on the sign.
    """
    from pydicom import dcmread

    try:
        image = dcmread(path, specific_tags=[*_TAGS], force=True)
        syntax = image.file_meta.get("TransferSyntaxUID")
        encoded = bytes(image.PixelData)
    except Exception as error:  # pydicom has many for damaged files
        raise Refusal(f"its image {name} {DAMAGED}") from error
    if syntax in _JPEG2000:
        _refuse_other_sign(encoded, image, name, values, rescale)
    elif syntax is None or syntax in _PLAIN:
        _refuse_missing_pixels(encoded, image, name)
        _refuse_other_bits(encoded, image, name, ">" if syntax == _BIG_ENDIAN else "<")


def _refuse_missing_pixels(encoded: bytes, image: Dataset, name: str) -> None:
    """GDCM takes 0 for pixels that are missing."""
    bits = image.Rows * image.Columns * image.BitsAllocated
    bits *= int(image.get("NumberOfFrames") or 1) * int(image.get("SamplesPerPixel") or 1)
    if 8 * len(encoded) < bits:
        raise Refusal(f"its image {name} {DAMAGED}")


def _refuse_other_bits(encoded: bytes, image: Dataset, name: str, order: str) -> None:
    """GDCM takes the lowest bits, pixels that are shifted lose their highest ones."""
    stored, high = image.get("BitsStored"), image.get("HighBit")
    if stored is None or high is None or high == stored - 1 or image.BitsAllocated not in (8, 16, 32):
        return
    kind = np.dtype(f"{order}u{image.BitsAllocated // 8}")
    words = np.frombuffer(encoded[: len(encoded) // kind.itemsize * kind.itemsize], kind)
    if words.max(initial=0) >> stored:
        raise Refusal(
            f"its image {name} stores {stored} bits per pixel, of which bit {high} is the highest one by its "
            "header, and has more: export the series again"
        )


def _refuse_other_sign(
    encoded: bytes, image: Dataset, name: str, values: np.ndarray, rescale: tuple[float, float]
) -> None:
    """GDCM and pydicom believe the header (PixelRepresentation).

    If the code stream is right, negative values become the largest ones, or the other way round.
    """
    start = encoded.find(_START_AND_SIZE)
    if start < 0:
        return
    precision_and_sign = encoded[start + _SIGN]
    signed_in_stream, bits = precision_and_sign > 127, precision_and_sign % 128 + 1
    signed_in_header = image.get("PixelRepresentation") == 1
    slope, intercept = rescale
    ends = [(float(end) - intercept) / slope for end in (values.min(), values.max())]
    depends = min(ends) < -0.5 or max(ends) > 2.0 ** (bits - 1) - 0.5
    if signed_in_stream != signed_in_header and depends:
        words = {True: "signed", False: "unsigned"}
        raise Refusal(
            f"its image {name} has {words[signed_in_header]} values by PixelRepresentation and "
            f"{words[signed_in_stream]} ones by its JPEG 2000 data: export the series again, uncompressed"
        )
