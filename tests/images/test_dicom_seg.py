"""DICOM-SEG: every frame says of the image it names what the mask says of that slice."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import dicom_seg
from nnunetv2_spinesegdiff.images.dicom_seg import CATEGORY, CODES, check_highdicom, write_dicom_seg
from nnunetv2_spinesegdiff.labels import CLASSES

pytest.importorskip("highdicom", reason="highdicom is an extra: pip install 'nnunetv2_spinesegdiff[dicom]'")

import highdicom
import pydicom
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import validate_value

SAGITTAL = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
"""Rows of the matrix: along the columns of a slice, along its rows, and from slice to slice."""
SPACING = (0.7, 0.9, 4.4)
SIZE = (7, 5, 4)
SAID: dict[str, Any] = {"description": "Lumbar spine", "software_versions": "0.1.0"}


def turned(x: float, y: float, z: float) -> np.ndarray:
    """The sagittal axes, turned by Euler angles in radians."""
    return SAGITTAL @ np.reshape(sitk.Euler3DTransform((0, 0, 0), x, y, z).GetMatrix(), (3, 3)).T


def made_up_series(folder: Path, axes: np.ndarray, slices: int = SIZE[2], **changes: str) -> list[Path]:
    """MR images of consecutive slices along the third of `axes`, in that order.

    Args:
        changes: attributes of every image to set, or with "" to leave out.
    """
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = []
    for number in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(str(number), {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "A^B", "17", "", "F"
        image.StudyID, image.StudyDate, image.StudyTime, image.AccessionNumber = "3", "20200102", "101112", ""
        image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 5, number + 1
        image.ImageType, image.PositionReferenceIndicator = ["ORIGINAL", "PRIMARY"], ""
        image.ImagePositionPatient = [
            float(f"{v:.6f}") for v in (10, -20, 30) + number * SPACING[2] * axes[2]
        ]
        image.ImageOrientationPatient = [float(f"{v:.9f}") for v in axes[:2].ravel()]
        image.PixelSpacing, image.SliceThickness = [SPACING[1], SPACING[0]], 4.0
        image.SpacingBetweenSlices = SPACING[2]
        image.Rows, image.Columns = SIZE[1], SIZE[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        image.PixelData = np.full((SIZE[1], SIZE[0]), number, np.uint16).tobytes()
        for keyword, value in changes.items():
            if value:
                setattr(image, keyword, value)
            else:
                delattr(image, keyword)
        files.append(folder / f"{number:03d}.dcm")
        image.save_as(files[-1], enforce_file_format=True)
    return files


def mask_on(files: list[Path], values: tuple[int, ...] = (0, 1, 2, 3), seed: int = 0) -> sitk.Image:
    """A mask of random labels on the grid that SimpleITK gives these files in this order."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    image = reader.Execute()
    array = np.random.default_rng(seed).choice(values, size=image.GetSize()[::-1]).astype(np.uint8)
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(image)
    return mask


def test_what_the_series_is_made_of(tmp_path):
    """The oracle itself: SimpleITK reads the made-up series with the geometry that was asked for."""
    axes = turned(0.1, 0.2, 0.3)
    mask = mask_on(made_up_series(tmp_path / "scan", axes))
    np.testing.assert_allclose(np.reshape(mask.GetDirection(), (3, 3)).T, axes, atol=1e-6)
    np.testing.assert_allclose(mask.GetSpacing(), SPACING, atol=1e-6)
    assert mask.GetSize() == SIZE


@pytest.mark.parametrize(
    "axes", [SAGITTAL, turned(0.2, -0.3, 0.15), np.eye(3)], ids=["sagittal", "oblique", "axial"]
)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("slices", [1, SIZE[2]])
def test_every_image_has_its_slice_of_the_mask(tmp_path, axes, backwards, slices):
    files = made_up_series(tmp_path / "scan", axes, slices)[:: -1 if backwards else 1]
    mask = mask_on(files, seed=slices)
    write_dicom_seg(mask, files, tmp_path / "mask.dcm", CLASSES, **SAID)
    seg = highdicom.seg.segread(tmp_path / "mask.dcm")
    uids = [dcmread(file).SOPInstanceUID for file in files]
    array = sitk.GetArrayFromImage(mask)
    for name, label in CLASSES.items():
        if name != "background":
            numbers = seg.get_segment_numbers(segmented_property_type=highdicom.sr.CodedConcept(*CODES[name]))
            pixels = seg.get_pixels_by_source_instance(
                uids, segment_numbers=numbers, assert_missing_frames_are_empty=True
            )
            np.testing.assert_array_equal(pixels[..., 0], array == label)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # pydicom's, of what breaks the standard here
@pytest.mark.parametrize(
    "changes",
    [
        {"SliceThickness": ""},
        {"PatientBirthDate": "1975"},
        {"StudyDate": "yesterday", "StudyTime": "noon"},
        {"SeriesNumber": 2**31 - 5},
        {"SeriesNumber": ""},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_what_careless_software_left_in_the_series_is_no_obstacle(changes, tmp_path):
    with pydicom.config.disable_value_validation():
        files = made_up_series(tmp_path / "scan", SAGITTAL, **changes)
    write_dicom_seg(mask_on(files), files, tmp_path / "mask.dcm", CLASSES, **SAID)
    seg = dcmread(tmp_path / "mask.dcm")
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime", "SeriesNumber", "PatientName"):
        element = seg[keyword]
        validate_value(element.VR, str(element.value), pydicom.config.RAISE)
    assert 0 < seg.SeriesNumber < 2**31
    assert seg.StudyInstanceUID == dcmread(files[0]).StudyInstanceUID
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == pytest.approx(4.4 if "SliceThickness" in changes else 4.0)


@pytest.mark.parametrize("axes", [SAGITTAL, turned(0.2, -0.3, 0.15)], ids=["sagittal", "oblique"])
@pytest.mark.parametrize("backwards", [False, True])
def test_every_voxel_is_where_it_is_in_the_mask(tmp_path, axes, backwards):
    """Frames by their own plane positions, without asking which image they name."""
    files = made_up_series(tmp_path / "scan", axes)[:: -1 if backwards else 1]
    mask = mask_on(files)
    write_dicom_seg(mask, files, tmp_path / "mask.dcm", CLASSES, **SAID)
    seg = dcmread(tmp_path / "mask.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    seen = np.zeros(mask.GetSize()[::-1], dtype=np.uint8)
    frames = seg.pixel_array.reshape(-1, SIZE[1], SIZE[0])
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        label = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        for row, column in zip(*np.nonzero(frame), strict=True):
            point = corner + column * between_columns * orientation[:3] + row * between_rows * orientation[3:]
            x, y, z = mask.TransformPhysicalPointToIndex(point.tolist())
            seen[z, y, x] = label
    np.testing.assert_array_equal(seen, sitk.GetArrayFromImage(mask))


def test_only_structures_that_are_there_are_segments(tmp_path):
    files = made_up_series(tmp_path / "scan", SAGITTAL)
    write_dicom_seg(mask_on(files, (0, 1, 3)), files, tmp_path / "mask.dcm", CLASSES, **SAID)
    seg = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == [
        "Spinal canal",
        "Intervertebral discs",
    ]
    assert [segment.SegmentNumber for segment in seg.SegmentSequence] == [1, 2]
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"AUTOMATIC"}
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("SpineSegDiff", "0.1.0")


def test_labels_of_another_order(tmp_path):
    files = made_up_series(tmp_path / "scan", SAGITTAL)
    mask = mask_on(files, (0, 9, 4))
    write_dicom_seg(mask, files, tmp_path / "mask.dcm", {"ivd": 4, "background": 0, "vertebrae": 9}, **SAID)
    seg = highdicom.seg.segread(tmp_path / "mask.dcm")
    pixels = seg.get_pixels_by_source_instance(
        [dcmread(file).SOPInstanceUID for file in files], assert_missing_frames_are_empty=True
    )
    array = sitk.GetArrayFromImage(mask)
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Intervertebral discs", "Vertebrae"]
    np.testing.assert_array_equal(pixels[..., 0], array == 4)
    np.testing.assert_array_equal(pixels[..., 1], array == 9)


def test_patient_and_study_are_carried_over_and_the_series_is_new(tmp_path):
    files = made_up_series(tmp_path / "scan", SAGITTAL)
    write_dicom_seg(mask_on(files), files, tmp_path / "mask.dcm", CLASSES, **SAID)
    source, seg = dcmread(files[0]), dcmread(tmp_path / "mask.dcm")
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    assert seg.SeriesDescription == "Lumbar spine"
    assert seg.SoftwareVersions == "0.1.0"


def test_anonymized_series_without_empty_attributes(tmp_path):
    gone = dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"), "")
    files = made_up_series(tmp_path / "scan", SAGITTAL, SIZE[2], **gone)
    write_dicom_seg(mask_on(files), files, tmp_path / "mask.dcm", CLASSES, **SAID)
    assert str(dcmread(tmp_path / "mask.dcm").PatientName) == ""


def refused(tmp_path: Path, mask: sitk.Image, files: list[Path], says: str, labels=CLASSES) -> None:
    """Refused in one line, and nothing is left behind."""
    folder = tmp_path / "results"
    with pytest.raises(UserError, match=says) as error:
        write_dicom_seg(mask, files, folder / "mask.dcm", labels, **SAID)
    assert "\n" not in str(error.value)
    assert not folder.exists() or not list(folder.iterdir())


def test_masks_that_cannot_be_written(tmp_path):
    files = made_up_series(tmp_path / "scan", SAGITTAL)
    refused(tmp_path, mask_on(files, (0,)), files, "holds no structure")
    refused(
        tmp_path, mask_on(files), files, r"no SNOMED CT code .* label 2 \(liver\)", {**CLASSES, "liver": 2}
    )
    refused(tmp_path, mask_on(files), files, r"label 3 \(no name\)", {"spinal_canal": 1, "vertebrae": 2})


def test_files_that_do_not_fit_the_mask(tmp_path):
    files = made_up_series(tmp_path / "scan", SAGITTAL)
    mask = mask_on(files)
    refused(tmp_path, mask, files[:-1], "3 DICOM files and 4 slices")
    refused(tmp_path, mask, files[::-1], "003.dcm: is not where slice 0")
    refused(tmp_path, mask, [files[0], files[2], files[1], files[3]], "002.dcm: is not where slice 1")
    other = made_up_series(tmp_path / "other", turned(0, 0, 0.1))
    refused(tmp_path, mask, other, "is not where slice 0")
    refused(tmp_path, mask_on(files)[:, :-1], files, "5 x 7 pixels, the mask has 4 x 7")


def test_files_that_are_no_slices(tmp_path):
    files = made_up_series(tmp_path / "scan", SAGITTAL)
    mask = mask_on(files)
    nifti = tmp_path / "scan.nii.gz"
    sitk.WriteImage(mask, nifti)
    refused(tmp_path, mask, [*files[:3], nifti], r"scan.nii.gz: cannot be read as DICOM")
    refused(tmp_path, mask, [*files[:3], tmp_path / "gone.dcm"], r"gone.dcm: cannot be read as DICOM")
    frames = made_up_series(tmp_path / "frames", SAGITTAL, NumberOfFrames="3")
    refused(tmp_path, mask, frames, "holds several slices")
    nowhere = made_up_series(tmp_path / "nowhere", SAGITTAL, ImagePositionPatient="")
    refused(tmp_path, mask, nowhere, "no position or orientation")
    unframed = made_up_series(tmp_path / "unframed", SAGITTAL, FrameOfReferenceUID="")
    refused(
        tmp_path, mask, unframed, "000.dcm: no DICOM-SEG can be made of this series: .*Frame Of Reference"
    )


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    files = made_up_series(tmp_path / "scan", SAGITTAL)

    def full(self, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", full)
    (tmp_path / "results").mkdir()
    with pytest.raises(OSError, match="disk full"):
        write_dicom_seg(mask_on(files), files, tmp_path / "results" / "mask.dcm", CLASSES, **SAID)
    assert not list((tmp_path / "results").iterdir())


def test_missing_highdicom_is_told_before_anything_is_computed(tmp_path, monkeypatch):
    check_highdicom()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nnunetv2_spinesegdiff\[dicom\]'"):
        check_highdicom()
    refused(tmp_path, sitk.Image(1, 1, 1, sitk.sitkUInt8), [], "not installed")


def verhoeff(number: str) -> bool:
    """Whether the last digit of a SNOMED CT identifier is its check digit (Verhoeff's, from the group D5)."""

    def product(a: int, b: int) -> int:
        turn = (a + b) % 5 if a < 5 else (a - b) % 5
        return turn + 5 * ((a < 5) != (b < 5))

    permutation, check = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), 0
    for place, digit in enumerate(map(int, reversed(number))):
        for _ in range(place):
            digit = permutation[digit]
        check = product(check, digit)
    return check == 0


def test_codes():
    """Those that DICOM has are pydicom's; all are concepts (partition 00) with a valid check digit."""
    assert set(CODES) == set(dicom_seg.SHOWN) == set(CLASSES) - {"background"}
    for ours, theirs in (
        (CATEGORY, codes.SCT.AnatomicalStructure),
        (CODES["spinal_canal"], codes.SCT.VertebralCanal),
        (CODES["vertebrae"], codes.SCT.Vertebra),
    ):
        assert ours == tuple(theirs)[:3]
    for number, scheme, _ in (CATEGORY, *CODES.values()):
        assert scheme == "SCT"
        assert number[-3:-1] == "00"
        assert verhoeff(number)
        assert not verhoeff(number[:-1] + str((int(number[-1]) + 1) % 10))
