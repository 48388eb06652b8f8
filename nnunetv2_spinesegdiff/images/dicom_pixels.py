"""Pixel data that GDCM decodes without a word although their headers contradict them."""

from __future__ import annotations

import numpy as np
from pydicom import dcmread
from pydicom.pixels.utils import get_j2k_parameters
from pydicom.uid import ExplicitVRBigEndian, JPEG2000TransferSyntaxes, UncompressedTransferSyntaxes

from .dicom_files import DicomSlice
from .scan import DAMAGED, Refusal

_START_OF_JPEG2000 = b"\xff\x4f\xff\x51"


def refuse_contradictions(one: DicomSlice, values: np.ndarray) -> None:
    """Refuse a file whose pixel data can be understood in two ways.

    Args:
        one: a slice in the file.
        values: of all frames, as decoded by GDCM, rescaled.

    Raises:
        Refusal: there are fewer pixels than the header states; pixels use more bits than BitsStored and
            HighBit contradicts BitsStored; or JPEG 2000 data and header state different signs, and a value
            depends on the sign.
    """
    subject = f"its image {one.file}"
    try:
        image = dcmread(one.path, force=True)
        encoded = bytes(image.PixelData)
    except Exception as error:  # pydicom raises many for damaged files
        raise Refusal(f"{subject} {DAMAGED}") from error
    syntax = image.file_meta.get("TransferSyntaxUID")
    if syntax in JPEG2000TransferSyntaxes:
        # GDCM believes PixelRepresentation. If the code stream is right, negative values become the largest
        # ones, or the other way round.
        stream = get_j2k_parameters(encoded[max(0, encoded.find(_START_OF_JPEG2000)) :])
        slope, intercept = one.rescale_of_file
        stored = [(float(end) - intercept) / slope for end in (values.min(), values.max())]
        signed = image.get("PixelRepresentation") == 1
        depends = min(stored) < -0.5 or max(stored) > 2.0 ** (stream.get("precision", 99) - 1) - 0.5
        if stream.get("is_signed", signed) != signed and depends:
            raise Refusal(
                f"{subject} has {'signed' if signed else 'unsigned'} values by PixelRepresentation, but not "
                "by its JPEG 2000 data: export the series again, uncompressed"
            )
    elif syntax is None or syntax in UncompressedTransferSyntaxes:
        if 8 * len(encoded) < values.size * image.BitsAllocated:  # GDCM takes 0 for pixels that are missing
            raise Refusal(f"{subject} {DAMAGED}")
        # GDCM takes the lowest bits, so pixels that are shifted lose their highest ones.
        bits, high, size = image.get("BitsStored"), image.get("HighBit"), image.BitsAllocated // 8
        if bits and high is not None and high != bits - 1 and size in (1, 2, 4):
            words = np.frombuffer(
                encoded, f"{'>' if syntax == ExplicitVRBigEndian else '<'}u{size}", values.size
            )
            if words.max() >> bits:
                raise Refusal(
                    f"{subject} stores {bits} bits per pixel, of which bit {high} is the highest one by its "
                    "header, and has more: export the series again"
                )
