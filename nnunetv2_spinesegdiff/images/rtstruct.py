"""Write a mask as DICOM RT structure set: outlines of every structure, as radiotherapy systems read them.

rt-utils, the usual library, is made for axial CT: it exchanges the two pixel spacings, and knows neither
enhanced images nor codes. So pydicom writes the file and scikit-image finds the outlines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from ..files import written_whole
from .dicom_files import DicomSlice
from .dicom_seg import (
    DESCRIPTION,
    EMPTY_IF_UNKNOWN,
    Segment,
    new_series_number,
    segments_and_headers,
    series_may_be_invalid,
)
from .scan import Scan

_STUDY = "1.2.840.10008.3.1.2.3.1"  # class of a study in references (retired, but required)


def write_rtstruct(mask: sitk.Image, scan: Scan, path: Path, segments: Sequence[Segment]) -> None:
    """Write a mask as RT structure set whose contours refer to the images of the series.

    Every structure in the mask becomes a region of interest (ROI), in the order of their numbers. Patient,
    study and frame of reference are those of the series, the structure set is a series of its own.

    Args:
        mask: uint8, on the grid of the scan, 0 is background.
        scan: of a DICOM series, whose files are still there.
        path: of the RT structure set; written completely or not at all.
        segments: what the numbers in the mask are.

    Raises:
        UserError: the mask is on another grid, holds no structure or one that is not among `segments`, or the
            series lacks attributes that an RT structure set needs.
    """
    present, images = segments_and_headers(mask, scan, path, segments)
    headers = dict(zip(scan.dicom_files, images, strict=True))
    array = sitk.GetArrayViewFromImage(mask)
    with series_may_be_invalid(scan, "RT structure set"):
        content = _structure_set(images[0], [_reference(headers[one.path], one) for one in scan.slices])
        for number, segment in enumerate(present, start=1):
            _add_roi(content, number, segment, list(_contours(array == segment.number, scan, headers)))
    with written_whole(path) as temporary:
        dcmwrite(temporary, content, enforce_file_format=True)


def outlines(shape: np.ndarray) -> Iterator[np.ndarray]:
    """Find the outline of every connected part of a mask.

    Outlines run midway between pixels inside and outside. A hole is joined to the outline around it by a line
    there and back ("keyhole"), so that every reader that fills polygons leaves it out.

    Args:
        shape: (rows, columns), bool.

    Yields:
        Row and column of the corners, (corners, 2); the last corner is connected to the first.
    """
    from skimage.measure import find_contours, label, regionprops  # takes a second to load

    for part in regionprops(label(shape, connectivity=1)):
        rings = find_contours(np.pad(part.image, 1).astype(float), 0.5)
        outline, *holes = (ring[:-1] for ring in sorted(rings, key=lambda ring: ring[:, 0].min()))
        for hole in holes:  # from the top, so that the next corner above belongs to the outline
            top = hole[:, 0].argmin()
            above = np.flatnonzero((outline[:, 1] == hole[top, 1]) & (outline[:, 0] < hole[top, 0]))
            start = above[outline[above, 0].argmax()]
            outline = np.concatenate([outline[: start + 1], hole[top:], hole[: top + 1], outline[start:]])
        yield outline + part.bbox[:2] - 1


def _contours(inside: np.ndarray, scan: Scan, headers: dict[Path, Dataset]) -> Iterator[Dataset]:
    """The contours of a structure, each in the plane of its image and in mm of the patient."""
    for shape, one in zip(inside, scan.slices, strict=True):
        steps = one.cosines[:, :2].T * np.array([one.spacing]).T  # of a column and of a row, in mm
        for outline in outlines(shape):
            points = np.asarray(one.position) + outline[:, ::-1] @ steps
            yield _dataset(
                ContourImageSequence=[_reference(headers[one.path], one)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[f"{value:.4f}" for value in points.ravel()],
            )


def _reference(image: Dataset, one: DicomSlice) -> Dataset:
    reference = _dataset(
        ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID
    )
    if one.frame is not None:
        reference.ReferencedFrameNumber = one.frame + 1
    return reference


def _structure_set(image: Dataset, references: list[Dataset]) -> Dataset:
    """An RT structure set without ROIs, of the patient and study of an image."""
    from .. import __version__

    if not image.get("FrameOfReferenceUID"):
        raise ValueError("no FrameOfReferenceUID")
    now = datetime.now()
    series = _dataset(SeriesInstanceUID=image.SeriesInstanceUID, ContourImageSequence=references)
    study = _dataset(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=image.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    frame = _dataset(FrameOfReferenceUID=image.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    content = _dataset(
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID=generate_uid(),
        StudyInstanceUID=image.StudyInstanceUID,
        SeriesInstanceUID=generate_uid(),
        FrameOfReferenceUID=image.FrameOfReferenceUID,
        Modality="RTSTRUCT",
        SeriesNumber=new_series_number(image),
        SeriesDescription=DESCRIPTION,
        InstanceNumber=1,
        OperatorsName="",
        Manufacturer="nnunetv2_spinesegdiff",
        ManufacturerModelName="SpineSegDiff",
        SoftwareVersions=__version__,
        StructureSetLabel="SPINE",
        StructureSetDate=now.strftime("%Y%m%d"),
        StructureSetTime=now.strftime("%H%M%S"),
        ReferencedFrameOfReferenceSequence=[frame],
        **{
            name: []
            for name in ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence")
        },
    )
    for keyword in ("SpecificCharacterSet", *EMPTY_IF_UNKNOWN):
        if keyword in image:
            content[keyword] = image[keyword]
    content.file_meta = FileMetaDataset()
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    # With explicit value representations, a contour would be limited to 64 kB.
    content.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return content


def _add_roi(content: Dataset, number: int, segment: Segment, contours: list[Dataset]) -> None:
    roi = _dataset(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=content.FrameOfReferenceUID,
        ROIName=segment.name,
        ROIGenerationAlgorithm="AUTOMATIC",
    )
    value, scheme, meaning = segment.code
    code = _dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
    observation = _dataset(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[code],
        RTROIInterpretedType="ORGAN",
        ROIInterpreter="",
    )
    shown = _dataset(
        ReferencedROINumber=number, ROIDisplayColor=list(segment.color), ContourSequence=contours
    )
    content.StructureSetROISequence.append(roi)
    content.ROIContourSequence.append(shown)
    content.RTROIObservationsSequence.append(observation)


def _dataset(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made
