"""Write a mask as DICOM-SEG, which a PACS and its viewers show over the scan."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.config import RAISE
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import generate_uid
from pydicom.valuerep import validate_value

from ..errors import UserError
from ..files import written_whole
from .grid import check_same_grid
from .scan import Scan

DESCRIPTION = "Lumbar spine, research use only"
# SNOMED CT concepts. Category, canal and vertebra are in DICOM's groups (PS3.16: CID 7150, 6115 and 7151).
# These have discs of single levels only (CID 7604), so `ivd` is SNOMED CT's concept above them.
CATEGORY = ("91723000", "SCT", "Anatomical Structure")
CODES: dict[str, tuple[str, str, str]] = {
    "spinal_canal": ("61853006", "SCT", "Vertebral canal"),
    "vertebrae": ("51282000", "SCT", "Vertebra"),
    "ivd": ("360499006", "SCT", "Intervertebral disc"),
}
# Attributes that every DICOM image must have, even if empty, and that careless anonymization removes.
EMPTY_IF_UNKNOWN = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "PositionReferenceIndicator"),
)


@dataclass(frozen=True)
class Segment:
    """A structure of a mask, as viewers show it.

    Attributes:
        number: in the mask.
        name: "L5", "L5-S1", "spinal canal".
        color: red, green and blue, 0 to 255.
        code: value, scheme and meaning of a SNOMED CT concept.
    """

    number: int
    name: str
    color: tuple[int, int, int]
    code: tuple[str, str, str]


def code_of_level(name: str) -> tuple[str, str, str]:
    """SNOMED CT concept, scheme and meaning of a vertebra ("L5") or disc ("L5-S1").

    DICOM's context groups (PS3.16: CID 7603 and 7604) have all but L6, S1 and the discs of these, which get
    the code of any vertebra or disc.
    """
    from pydicom.sr.codedict import codes

    kind, group, other = (
        ("Disc", codes.CID7604, "ivd") if "-" in name else ("Vertebra", codes.CID7603, "vertebrae")
    )
    code = getattr(group, name.replace("-", "") + kind, None)
    return CODES[other] if code is None else (code.value, code.scheme_designator, code.meaning)


def check_highdicom() -> None:
    """Raise a UserError if the packages that write DICOM-SEG are missing."""
    if importlib.util.find_spec("highdicom") is None:
        advice = "pip install 'nnunetv2_spinesegdiff[dicom]'"
        raise UserError(None, "DICOM-SEG is written by highdicom, which is not installed", advice)


def write_dicom_seg(mask: sitk.Image, scan: Scan, path: Path, segments: Sequence[Segment]) -> None:
    """Write a mask as a binary DICOM-SEG whose frames refer to the images of the series.

    Every structure in the mask becomes a segment, in the order of their numbers. Patient and study are those
    of the series, the segmentation is a series of its own. Slices without a structure have no frame.

    Args:
        mask: uint8, on the grid of the scan, 0 is background.
        scan: of a DICOM series, whose files are still there.
        path: of the DICOM-SEG; written completely or not at all.
        segments: what the numbers in the mask are.

    Raises:
        UserError: highdicom is missing, the mask is on another grid, holds no structure or one that is not
            among `segments`, or the series lacks attributes that DICOM-SEG needs.
    """
    check_highdicom()
    present, images = segments_and_headers(mask, scan, path, segments)
    numbers = [0, *(segment.number for segment in present)]
    places = np.searchsorted(numbers, sitk.GetArrayFromImage(mask)).astype(np.uint8)
    with series_may_be_invalid(scan, "DICOM-SEG"):
        _prepare(images, scan.slices, float(f"{mask.GetSpacing()[2]:.6g}"))
        content = _segmentation(images, places, present)
    # References count the frames of the scan only. Segments share them, so each is changed once.
    references = {id(one): one for one in content.iterall() if one.keyword == "ReferencedFrameNumber"}
    for reference in references.values():
        reference.value = scan.slices[reference.value - 1].frame + 1
    with written_whole(path) as temporary:
        content.save_as(temporary)


def segments_and_headers(
    mask: sitk.Image, scan: Scan, path: Path, segments: Sequence[Segment]
) -> tuple[list[Segment], list[Dataset]]:
    """The segments that are in a mask, by number, and the headers of the images, see `write_dicom_seg`."""
    check_same_grid(path, mask, scan.source.path, scan.image)
    known = {segment.number: segment for segment in segments}
    present = [int(number) for number in np.unique(sitk.GetArrayViewFromImage(mask)) if number]
    if not present:
        raise UserError(path, "the mask holds no structure", "a DICOM file of structures needs one")
    if unknown := [str(number) for number in present if number not in known]:
        cause = f"no SNOMED CT code is known for label {', '.join(unknown)}"
        raise UserError(path, cause, "write this mask in another format")
    return [known[number] for number in present], [_read_header(file) for file in scan.dicom_files]


@contextmanager
def series_may_be_invalid(scan: Scan, what: str) -> Iterator[None]:
    """Turn errors of missing and invalid attributes of a series into a `UserError`."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise UserError(scan.dicom_files[0], f"no {what} can be made of this series: {cause}") from error


def new_series_number(image: Dataset) -> int:
    """1000 above that of the image, if that is still a number of DICOM (IS, below 2^31)."""
    number = 1000 + int(image.get("SeriesNumber") or 0)
    return number if 0 < number < 2**31 else 1000


def _read_header(file: Path) -> Dataset:
    """The header of a DICOM image, with valid values of what results repeat of it."""
    try:
        image = dcmread(file, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise UserError(file, f"cannot be read as DICOM ({error})", "read the scan again") from None
    for keyword in EMPTY_IF_UNKNOWN:
        try:
            validate_value(image[keyword].VR, str(image[keyword].value), RAISE)
        except (KeyError, ValueError):
            setattr(image, keyword, "")
    return image


def _prepare(images: Sequence[Dataset], slices: Sequence[Any], thickness: float) -> None:
    """Change headers to what highdicom needs: one orientation, SliceThickness, only frames of the scan."""
    import highdicom

    first = slices[0]
    if first.frame is None:
        for image in images:
            image.ImageOrientationPatient = images[0].ImageOrientationPatient
            image.SliceThickness = image.get("SliceThickness") or thickness
        return
    if len(images) > 1:
        advice = "DICOM-SEG needs classic images or one enhanced file"
        raise UserError(first.path, "one of several enhanced images", advice)
    shared, frames = Dataset(), [Dataset() for _ in slices]
    measures = highdicom.PixelMeasuresSequence(first.spacing[::-1], first.thickness or thickness)
    shared.PixelMeasuresSequence = measures
    shared.PlaneOrientationSequence = highdicom.PlaneOrientationSequence("PATIENT", first.orientation)
    for frame, one in zip(frames, slices, strict=True):
        frame.PlanePositionSequence = highdicom.PlanePositionSequence("PATIENT", one.position)
    (image,) = images
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    image.NumberOfFrames = len(frames)


def _segmentation(images: list[Dataset], places: np.ndarray, segments: list[Segment]) -> Any:
    """The DICOM-SEG; `places` (frames, rows, columns) numbers the segments from 1."""
    import highdicom
    from pydicom.sr.codedict import Code, codes

    from .. import __version__

    family = codes.DCM.ArtificialIntelligence
    algorithm = highdicom.AlgorithmIdentificationSequence("SpineSegDiff", family, __version__)
    descriptions = [
        highdicom.seg.SegmentDescription(
            place,
            segment.name,
            Code(*CATEGORY),
            Code(*segment.code),
            "AUTOMATIC",
            algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(*segment.color),
        )
        for place, segment in enumerate(segments, start=1)
    ]
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=places,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=new_series_number(images[0]),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="nnunetv2_spinesegdiff",
        manufacturer_model_name="SpineSegDiff",
        software_versions=__version__,
        device_serial_number="none",  # DICOM requires one, and that of the machine would be private
        content_label="SPINE",
        content_description=DESCRIPTION,
        series_description=DESCRIPTION,
    )
