"""Write a mask as DICOM-SEG, which a PACS and its viewers show over the scan."""

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
discs of single levels only (CID 7604), so discs of any level are SNOMED CT's concept above them.
"""
SHOWN = {"spinal_canal": "Spinal canal", "vertebrae": "Vertebrae", "ivd": "Intervertebral discs"}
"""Names of the segments in viewers."""

_EMPTY_IF_UNKNOWN = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
"""Attributes that every DICOM image must have, even if empty, and that careless anonymization removes."""
_NEEDS = "DICOM-SEG needs the series that the mask was made of, one file per slice"


def check_highdicom() -> None:
    """Raise a UserError if the packages that write DICOM-SEG are missing."""
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
    frames: Sequence[int] = (),
) -> None:
    """Write a mask as a binary DICOM-SEG whose frames refer to the images of the series.

    Every structure in the mask becomes a segment, in the order of their labels. Patient and study are those
    of the series, the segmentation is a series of its own. Slices without a structure have no frame.

    Args:
        mask: uint8 label map on the grid of the series, 0 is background.
        dicom_files: one file per slice in the order of the mask's slices, or one enhanced file.
        path: of the DICOM-SEG; written completely or not at all.
        labels: of nnU-Net's dataset, name to label.
        description: of the series, at most 64 characters.
        software_versions: of the program and its model, at most 64 characters.
        frames: of the enhanced file, from 0, in the order of the mask's slices; empty for other files.

    Raises:
        UserError: highdicom is missing, the mask holds no structure or one without a code in `CODES`, or the
            files are not DICOM, not as many as there are slices, or not where these are.
    """
    check_highdicom()
    slices = mask.GetSize()[2]
    count, what = (len(frames), "frames") if frames else (len(dicom_files), "DICOM files")
    if count != slices:
        raise UserError(f"{path}: {count} {what} and {slices} slices of the mask; {_NEEDS}")
    array = sitk.GetArrayFromImage(mask)
    names = {label: name for name, label in labels.items()}
    present = [int(label) for label in np.unique(array) if label]
    if not present:
        raise UserError(f"{path}: the mask holds no structure; a DICOM-SEG needs one")
    unknown = [
        f"{label} ({names.get(label, 'no name')})" for label in present if names.get(label) not in CODES
    ]
    if unknown:
        raise UserError(
            f"{path}: no SNOMED CT code is known for label {', '.join(unknown)}, only for {', '.join(CODES)}"
            "; write this mask in another format"
        )
    images = [_read_header(file) for file in dicom_files]
    thickness = float(f"{mask.GetSpacing()[2]:.6g}")
    if frames:
        _prepare_enhanced(mask, dicom_files[0], images[0], frames, thickness)
    else:
        _prepare_classic(mask, dicom_files, images, thickness)
    segments = np.zeros(array.shape, dtype=np.uint8)
    for number, label in enumerate(present, start=1):
        segments[array == label] = number
    try:
        content = _segmentation(images, segments, [names[n] for n in present], description, software_versions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise UserError(f"{dicom_files[0]}: no DICOM-SEG can be made of this series: {cause}") from error
    _refer_to_frames(content, frames)
    with written_whole(path) as temporary:
        content.save_as(temporary)


def _prepare_classic(
    mask: sitk.Image, files: Sequence[Path], images: Sequence[Dataset], thickness: float
) -> None:
    """Check the place of every image; highdicom wants SliceThickness and the same orientation in all.

    Raises:
        UserError: a file holds several slices, or is not where its slice of the mask is.
    """
    for number, (file, image) in enumerate(zip(files, images, strict=True)):
        if int(image.get("NumberOfFrames") or 1) > 1:
            raise UserError(f"{file}: holds several slices; {_NEEDS}")
        if "SharedFunctionalGroupsSequence" in image:
            raise UserError(
                f"{file}: one of several enhanced images; DICOM-SEG needs classic images or one enhanced file"
            )
        _check_place(mask, number, file, image, image, image)
        image.ImageOrientationPatient = images[0].ImageOrientationPatient
        if not image.get("SliceThickness"):
            image.SliceThickness = thickness


def _prepare_enhanced(
    mask: sitk.Image, file: Path, image: Dataset, frames: Sequence[int], thickness: float
) -> None:
    """Check the place of every frame, and leave only these frames in the header, in this order.

    highdicom wants what they have in common to be stated once, and no two frames at the same place.

    Raises:
        UserError: a frame is not where its slice of the mask is.
    """
    from pydicom.dataset import Dataset

    shared = (image.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    per_frame = image.get("PerFrameFunctionalGroupsSequence") or []

    def find(frame: int, group: str) -> Dataset:
        found = (per_frame[frame] if frame < len(per_frame) else Dataset()).get(group) or shared.get(group)
        return found[0] if found else Dataset()

    for number, frame in enumerate(frames):
        plane, orientation = find(frame, "PlanePositionSequence"), find(frame, "PlaneOrientationSequence")
        _check_place(mask, number, file, image, plane, orientation)
    measures = find(frames[0], "PixelMeasuresSequence")
    if not measures.get("SliceThickness"):
        measures.SliceThickness = thickness
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [find(frames[0], "PlaneOrientationSequence")]
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = [per_frame[frame] for frame in frames]
    image.NumberOfFrames = len(frames)


def _refer_to_frames(content: Dataset, frames: Sequence[int]) -> None:
    """Give references to frames the numbers that these have in the file."""
    if not frames:
        return
    references = (
        source
        for group in content.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for source in derivation.SourceImageSequence
    )
    # Segments share these items.
    for source in {id(source): source for source in references}.values():
        source.ReferencedFrameNumber = frames[source.ReferencedFrameNumber - 1] + 1


def _read_header(file: Path) -> Dataset:
    """The header of a DICOM image, with valid values of what a DICOM-SEG repeats of it."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        image = dcmread(file, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise UserError(f"{file}: cannot be read as DICOM ({error}); {_NEEDS}") from None
    for keyword in _EMPTY_IF_UNKNOWN:
        if keyword not in image or not _is_valid(image[keyword]):
            setattr(image, keyword, "")
    return image


def _check_place(
    mask: sitk.Image, number: int, file: Path, image: Dataset, plane: Dataset, orientation: Dataset
) -> None:
    """Compare the place of an image with that of a slice of the mask.

    Args:
        plane, orientation: what holds ImagePositionPatient and ImageOrientationPatient.

    Raises:
        UserError: it has another size or place.
    """
    columns, rows, _ = mask.GetSize()
    if (image.get("Rows"), image.get("Columns")) != (rows, columns):
        size = f"{image.get('Rows')} x {image.get('Columns')}"
        raise UserError(f"{file}: {size} pixels, the mask has {rows} x {columns}; {_NEEDS}")
    position, axes = plane.get("ImagePositionPatient"), orientation.get("ImageOrientationPatient")
    if not position or not axes:
        raise UserError(f"{file}: no position or orientation in the patient; {_NEEDS}")
    direction = np.reshape(mask.GetDirection(), (3, 3))
    shift = direction.T @ np.subtract(position, mask.TransformIndexToPhysicalPoint((0, 0, number)))
    turn = np.subtract(axes, direction.T[:2].ravel())
    # Further than half a voxel, and another slice or pixel would be nearer.
    if np.any(np.abs(shift) > np.divide(mask.GetSpacing(), 2)) or np.abs(turn).max() > 0.01:
        raise UserError(f"{file}: is not where slice {number} of the mask is; {_NEEDS}")


def _is_valid(element: DataElement) -> bool:
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    try:
        validate_value(element.VR, str(element.value), RAISE)
    except ValueError:
        return False
    return True


def _segmentation(
    images: list[Dataset], segments: np.ndarray, names: list[str], description: str, software_versions: str
) -> Any:
    """The DICOM-SEG; `segments` (frames, rows, columns) numbers the structures `names` from 1."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code
    from pydicom.uid import generate_uid

    algorithm = AlgorithmIdentificationSequence(
        name="SpineSegDiff", family=codes.DCM.ArtificialIntelligence, version=software_versions
    )
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=SHOWN[name],
            segmented_property_category=Code(*CATEGORY),
            segmented_property_type=Code(*CODES[name]),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(names, start=1)
    ]
    # 1000 above that of the images, if that is still a number of DICOM (IS, below 2^31).
    series_number = 1000 + int(images[0].get("SeriesNumber") or 0)
    return Segmentation(
        source_images=images,
        pixel_array=segments,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=series_number if 0 < series_number < 2**31 else 1000,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="nnunetv2_spinesegdiff",
        manufacturer_model_name="SpineSegDiff",
        software_versions=software_versions,
        device_serial_number="none",  # DICOM requires one, and that of the machine would be private
        content_label="SPINE",
        content_description=description,
        series_description=description,
    )
