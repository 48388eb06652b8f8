"""DICOM-SEG: every frame says of the image it names what the mask says of that slice."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff import __version__
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import dicom_seg
from nnunetv2_spinesegdiff.images.dicom import read_exam
from nnunetv2_spinesegdiff.images.dicom_seg import CATEGORY, CODES, check_highdicom, write_dicom_seg
from nnunetv2_spinesegdiff.images.scan import Scan, ScanSource
from nnunetv2_spinesegdiff.labels import CLASSES

pytest.importorskip("highdicom", reason="highdicom is an extra: pip install 'nnunetv2_spinesegdiff[dicom]'")

import highdicom
import pydicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import validate_value

from .made_up import COMPLETE, scan, write_series

SAGITTAL = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
"""Rows of the matrix: along the columns of a slice, along its rows, and from slice to slice."""
SPACING = (0.7, 0.9, 4.4)
SIZE = (7, 5, 4)


def turned(x: float, y: float, z: float) -> np.ndarray:
    """The sagittal axes, turned by Euler angles in radians."""
    return SAGITTAL @ np.reshape(sitk.Euler3DTransform((0, 0, 0), x, y, z).GetMatrix(), (3, 3)).T


def made_up_scan(folder: Path, axes: np.ndarray, slices: int = SIZE[2], **changes: str) -> Scan:
    """Read MR images of consecutive slices along the third of `axes`, in that order.

    Args:
        changes: attributes of every image to set, or with "" to leave out.
    """

    def change(image: Dataset, _: int) -> None:
        for keyword, value in changes.items():
            setattr(image, keyword, value or None)
            if not value:
                delattr(image, keyword)

    volume = scan(axes.T, (*SIZE[:2], slices), SPACING)
    write_series(folder, volume, change=change, SliceThickness=4.0, **COMPLETE)
    return read_exam(
        ScanSource("scan", folder, "dicom"), folder, "3" if slices == 1 else None, any_plane=True
    )


def mask_on(source: Scan, values: tuple[int, ...] = (0, 1, 2, 3), seed: int = 0) -> sitk.Image:
    """A mask of random labels."""
    size = source.image.GetSize()[::-1]
    mask = sitk.GetImageFromArray(np.random.default_rng(seed).choice(values, size=size).astype(np.uint8))
    mask.CopyInformation(source.image)
    return mask


def instances(source: Scan) -> list[str]:
    return [dcmread(one.path).SOPInstanceUID for one in source.slices]


def along(axes: np.ndarray, backwards: bool) -> np.ndarray:
    """The axes, with slices in the opposite order."""
    return axes * [[1], [1], [-1 if backwards else 1]]


def test_what_the_series_is_made_of(tmp_path):
    """The made-up series is read with the geometry that was asked for."""
    axes = turned(0.1, 0.2, 0.3)
    mask = mask_on(made_up_scan(tmp_path / "scan", axes))
    np.testing.assert_allclose(np.reshape(mask.GetDirection(), (3, 3)).T, axes, atol=1e-6)
    np.testing.assert_allclose(mask.GetSpacing(), SPACING, atol=1e-6)
    assert mask.GetSize() == SIZE


@pytest.mark.parametrize(
    "axes", [SAGITTAL, turned(0.2, -0.3, 0.15), np.eye(3)], ids=["sagittal", "oblique", "axial"]
)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("slices", [1, SIZE[2]])
def test_every_image_has_its_slice_of_the_mask(tmp_path, axes, backwards, slices):
    source = made_up_scan(tmp_path / "scan", along(axes, backwards), slices)
    mask = mask_on(source, seed=slices)
    write_dicom_seg(mask, source, tmp_path / "mask.dcm", CLASSES)
    seg = highdicom.seg.segread(tmp_path / "mask.dcm")
    uids = instances(source)
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
        source = made_up_scan(tmp_path / "scan", SAGITTAL, **changes)
    write_dicom_seg(mask_on(source), source, tmp_path / "mask.dcm", CLASSES)
    seg = dcmread(tmp_path / "mask.dcm")
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime", "SeriesNumber", "PatientName"):
        element = seg[keyword]
        validate_value(element.VR, str(element.value), pydicom.config.RAISE)
    assert 0 < seg.SeriesNumber < 2**31
    assert seg.StudyInstanceUID == source.slices[0].study
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == pytest.approx(4.4 if "SliceThickness" in changes else 4.0)


@pytest.mark.parametrize("axes", [SAGITTAL, turned(0.2, -0.3, 0.15)], ids=["sagittal", "oblique"])
@pytest.mark.parametrize("backwards", [False, True])
def test_every_voxel_is_where_it_is_in_the_mask(tmp_path, axes, backwards):
    """Frames by their own plane positions, without asking which image they name."""
    source = made_up_scan(tmp_path / "scan", along(axes, backwards))
    mask = mask_on(source)
    write_dicom_seg(mask, source, tmp_path / "mask.dcm", CLASSES)
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
    source = made_up_scan(tmp_path / "scan", SAGITTAL)
    write_dicom_seg(mask_on(source, (0, 1, 3)), source, tmp_path / "mask.dcm", CLASSES)
    seg = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == [
        "Spinal canal",
        "Intervertebral discs",
    ]
    assert [segment.SegmentNumber for segment in seg.SegmentSequence] == [1, 2]
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"AUTOMATIC"}
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("SpineSegDiff", __version__)


def test_labels_of_another_order(tmp_path):
    source = made_up_scan(tmp_path / "scan", SAGITTAL)
    mask = mask_on(source, (0, 9, 4))
    write_dicom_seg(mask, source, tmp_path / "mask.dcm", {"ivd": 4, "background": 0, "vertebrae": 9})
    seg = highdicom.seg.segread(tmp_path / "mask.dcm")
    pixels = seg.get_pixels_by_source_instance(instances(source), assert_missing_frames_are_empty=True)
    array = sitk.GetArrayFromImage(mask)
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Intervertebral discs", "Vertebrae"]
    np.testing.assert_array_equal(pixels[..., 0], array == 4)
    np.testing.assert_array_equal(pixels[..., 1], array == 9)


def test_patient_and_study_are_carried_over_and_the_series_is_new(tmp_path):
    source = made_up_scan(tmp_path / "scan", SAGITTAL)
    write_dicom_seg(mask_on(source), source, tmp_path / "mask.dcm", CLASSES)
    first, seg = dcmread(source.dicom_files[0]), dcmread(tmp_path / "mask.dcm")
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == first[keyword].value
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    assert seg.SeriesDescription == "Lumbar spine, research use only"
    assert seg.SoftwareVersions == __version__


def test_anonymized_series_without_empty_attributes(tmp_path):
    gone = dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"), "")
    source = made_up_scan(tmp_path / "scan", SAGITTAL, SIZE[2], **gone)
    write_dicom_seg(mask_on(source), source, tmp_path / "mask.dcm", CLASSES)
    assert str(dcmread(tmp_path / "mask.dcm").PatientName) == ""


def refused(tmp_path: Path, mask: sitk.Image, source: Scan, says: str, labels=CLASSES) -> None:
    """Refused in one line, and nothing is left behind."""
    folder = tmp_path / "results"
    with pytest.raises(UserError, match=says) as error:
        write_dicom_seg(mask, source, folder / "mask.dcm", labels)
    assert "\n" not in str(error.value)
    assert not folder.exists() or not list(folder.iterdir())


def test_masks_that_cannot_be_written(tmp_path):
    source = made_up_scan(tmp_path / "scan", SAGITTAL)
    refused(tmp_path, mask_on(source, (0,)), source, "holds no structure")
    refused(
        tmp_path, mask_on(source), source, r"no SNOMED CT code .* label 2 \(liver\)", {**CLASSES, "liver": 2}
    )
    refused(tmp_path, mask_on(source), source, r"label 3 \(no name\)", {"spinal_canal": 1, "vertebrae": 2})


def test_masks_on_another_grid(tmp_path):
    source = made_up_scan(tmp_path / "scan", SAGITTAL)
    mask = mask_on(source)
    refused(tmp_path, mask[:, :, :-1], source, "7 x 5 x 3 voxels instead of 7 x 5 x 4")
    refused(tmp_path, mask[:, :, ::-1], source, "not on the grid of")
    other = made_up_scan(tmp_path / "other", turned(0, 0, 0.1))
    refused(tmp_path, mask, other, "not on the grid of")


def test_series_that_lack_something(tmp_path):
    unframed = made_up_scan(tmp_path / "unframed", SAGITTAL, FrameOfReferenceUID="")
    refused(tmp_path, mask_on(unframed), unframed, "no DICOM-SEG can be made .*Frame Of Reference")


def test_files_that_changed_since_they_were_read(tmp_path):
    source = made_up_scan(tmp_path / "scan", SAGITTAL)
    changed = source.dicom_files[2]
    changed.write_bytes(b"no DICOM")
    refused(tmp_path, mask_on(source), source, f"{changed.name}: cannot be read as DICOM")
    changed.unlink()
    refused(tmp_path, mask_on(source), source, f"{changed.name}: cannot be read as DICOM")


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    source = made_up_scan(tmp_path / "scan", SAGITTAL)

    def full(self, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", full)
    (tmp_path / "results").mkdir()
    with pytest.raises(OSError, match="disk full"):
        write_dicom_seg(mask_on(source), source, tmp_path / "results" / "mask.dcm", CLASSES)
    assert not list((tmp_path / "results").iterdir())


def test_missing_highdicom_is_told_before_anything_is_computed(tmp_path, monkeypatch):
    check_highdicom()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nnunetv2_spinesegdiff\[dicom\]'"):
        check_highdicom()
    source = made_up_scan(tmp_path / "scan", SAGITTAL)
    refused(tmp_path, mask_on(source), source, "not installed")


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
