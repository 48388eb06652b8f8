"""A mask as DICOM-SEG: what a PACS and its viewers show over the scan."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from ..errors import UserError
from ..files import written_whole

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

ADVICE = "pip install 'nnunetv2_spinesegdiff[dicom]'"
CATEGORY = ("91723000", "SCT", "Anatomical Structure")
CODES: dict[str, tuple[str, str, str]] = {
    "spinal_canal": ("61853006", "SCT", "Vertebral canal"),
    "vertebrae": ("51282000", "SCT", "Vertebra"),
    "ivd": ("360499006", "SCT", "Intervertebral disc"),
}
"""SNOMED CT concept, scheme and meaning of every structure, by its name in nnU-Net's `labels`.

Category, canal and vertebra are in DICOM's own context groups (PS3.16: CID 7150, 6115 and 7151). These have
discs of single levels only (CID 7604), so that discs of any level are SNOMED CT's concept above them.
"""
SHOWN = {"spinal_canal": "Spinal canal", "vertebrae": "Vertebrae", "ivd": "Intervertebral discs"}
"""What viewers call the segments."""

_EMPTY_IF_UNKNOWN = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
"""Attributes that every DICOM image has, be it empty, and that careless anonymization removes."""


def check_highdicom() -> None:
    """Raises UserError where the packages that write DICOM-SEG are missing."""
    if importlib.util.find_spec("highdicom") is None:
        raise UserError(f"DICOM-SEG is written by highdicom, which is not installed; {ADVICE}")


def write_dicom_seg(
    mask: sitk.Image,
    dicom_files: Sequence[Path],
    path: Path,
    labels: Mapping[str, int],
    *,
    description: str,
    software_versions: str,
) -> None:
    """Write a mask as a binary DICOM-SEG whose frames refer to the images of the series.

    Every structure that is in the mask becomes a segment, in the order of their labels. Patient and study are
    those of the series, the segmentation is a series of its own. Slices without a structure have no frame.

    Args:
        mask: uint8 label map on the grid of the series, 0 is background.
        dicom_files: one file a slice, in the order of the mask's slices.
        path: of the DICOM-SEG; written whole or not at all.
        labels: of nnU-Net's dataset, name to label.
        description: of the series, at most 64 characters.
        software_versions: of the program and its model, at most 64 characters.

    Raises:
        UserError: highdicom is missing, the mask holds no structure or one that has no code in `CODES`, or
            the files are not DICOM, not as many as there are slices, or not where these are.
    """
    check_highdicom()
    if len(dicom_files) != mask.GetSize()[2]:
        raise UserError(
            f"{path}: {len(dicom_files)} DICOM files and {mask.GetSize()[2]} slices of the mask; DICOM-SEG "
            "needs a series with one file a slice"
        )
    array = sitk.GetArrayFromImage(mask)
    present = _structures_in(array, labels, path)
    images = [_without_pixels(file, mask.GetSpacing()[2]) for file in dicom_files]
    for number, (file, image) in enumerate(zip(dicom_files, images, strict=True)):
        _check_place(mask, number, file, image)
    segments = np.zeros(array.shape, dtype=np.uint8)
    for number, label in enumerate(present.values(), start=1):
        segments[array == label] = number
    content = _segmentation(images, segments, list(present), dicom_files[0], description, software_versions)
    with written_whole(path) as temporary:
        content.save_as(temporary)


def _structures_in(array: np.ndarray, labels: Mapping[str, int], path: Path) -> dict[str, int]:
    """Name and label of every structure of a mask, ordered by label."""
    names = {label: name for name, label in labels.items()}
    found = {int(label): names.get(int(label)) for label in np.unique(array) if label}
    if not found:
        raise UserError(f"{path}: the mask holds no structure, and a DICOM-SEG without any cannot be")
    unknown = [f"{label} ({name or 'no name'})" for label, name in found.items() if name not in CODES]
    if unknown:
        raise UserError(
            f"{path}: no SNOMED CT code is known for label {', '.join(unknown)}, only for {', '.join(CODES)}"
            "; write this mask in another format"
        )
    return {name: label for label, name in found.items() if name is not None}


def _without_pixels(file: Path, thickness: float) -> Dataset:
    """The header of a DICOM image, with what a DICOM-SEG repeats of it as the standard wants it.

    Attributes that may be empty but have to be there are there, dates and times that are none are empty.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        image = dcmread(file, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise UserError(
            f"{file}: cannot be read as DICOM ({error}); DICOM-SEG needs a DICOM series"
        ) from None
    if int(image.get("NumberOfFrames") or 1) > 1:
        raise UserError(f"{file}: holds several slices; DICOM-SEG needs a series with one file a slice")
    for keyword in _EMPTY_IF_UNKNOWN:
        if keyword not in image or not _valid(image[keyword]):
            setattr(image, keyword, "")
    if not image.get("SliceThickness"):
        image.SliceThickness = float(f"{thickness:.6g}")
    return image


def _valid(element: DataElement) -> bool:
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    try:
        validate_value(element.VR, str(element.value), RAISE)
    except ValueError:
        return False
    return True


def _series_number(source: Dataset) -> int:
    """1000 above that of the images, where that is still a number of DICOM (IS, below 2^31)."""
    number = 1000 + int(source.get("SeriesNumber") or 0)
    return number if 0 < number < 2**31 else 1000


def _check_place(mask: sitk.Image, number: int, file: Path, image: Dataset) -> None:
    """Raises UserError where an image of the series is not where that slice of the mask is."""
    columns, rows, _ = mask.GetSize()
    if (image.get("Rows"), image.get("Columns")) != (rows, columns):
        raise UserError(
            f"{file}: {image.get('Rows')} x {image.get('Columns')} pixels, the mask has {rows} x {columns}"
            "; DICOM-SEG needs the series that the mask was made of"
        )
    if "ImagePositionPatient" not in image or "ImageOrientationPatient" not in image:
        raise UserError(f"{file}: does not tell where it lies in the patient, which DICOM-SEG needs")
    direction = np.reshape(mask.GetDirection(), (3, 3))
    apart = np.subtract(image.ImagePositionPatient, mask.TransformIndexToPhysicalPoint((0, 0, number)))
    turned = np.subtract(image.ImageOrientationPatient, direction.T[:2].ravel())
    # Further than half a voxel, and another slice or pixel would be nearer.
    if np.any(np.abs(direction.T @ apart) > np.divide(mask.GetSpacing(), 2)) or np.abs(turned).max() > 0.01:
        raise UserError(
            f"{file}: is not where slice {number} of the mask is; DICOM-SEG needs the files in the order of "
            "the slices, and the series that the mask was made of"
        )


def _segmentation(
    images: list[Dataset],
    segments: np.ndarray,
    names: list[str],
    first: Path,
    description: str,
    software_versions: str,
) -> Dataset:
    """The DICOM-SEG; `segments` (frames, rows, columns) numbers the structures `names` from 1."""
    from highdicom.seg import Segmentation
    from pydicom.uid import generate_uid

    try:
        return Segmentation(
            source_images=images,
            pixel_array=segments,
            segmentation_type="BINARY",
            segment_descriptions=[
                _segment(number, name, software_versions) for number, name in enumerate(names, start=1)
            ],
            series_instance_uid=generate_uid(),
            series_number=_series_number(images[0]),
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="nnunetv2_spinesegdiff",
            manufacturer_model_name="SpineSegDiff",
            software_versions=software_versions,
            # DICOM asks for one, and that of the machine would be private.
            device_serial_number="none",
            content_label="SPINE",
            content_description=description,
            series_description=description,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{first}: no DICOM-SEG can be made of this series: {reason}") from error


def _segment(number: int, name: str, software_versions: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    return SegmentDescription(
        segment_number=number,
        segment_label=SHOWN[name],
        segmented_property_category=Code(*CATEGORY),
        segmented_property_type=Code(*CODES[name]),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name="SpineSegDiff",
            family=codes.DCM.ArtificialIntelligence,
            version=software_versions,
        ),
    )
