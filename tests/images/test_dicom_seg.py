"""DICOM-SEG: every frame says of the image it names what the mask says of that slice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff import __version__
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.dicom import read_exam
from nnunetv2_spinesegdiff.images.dicom_seg import (
    CATEGORY,
    CODES,
    check_highdicom,
    write_dicom_seg,
)
from nnunetv2_spinesegdiff.images.scan import Scan, ScanSource
from nnunetv2_spinesegdiff.labels import CLASSES
from nnunetv2_spinesegdiff.segmentation.level_files import level_segments

pytest.importorskip("highdicom", reason="highdicom is an extra: pip install 'nnunetv2_spinesegdiff[dicom]'")

import highdicom
import pydicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import validate_value

from ..helpers.masks import segments_of
from ..helpers.scan_files import COMPLETE, SAGITTAL, scan, with_values, write_series
from ..helpers.spider_series import rotation

SIZE = (7, 5, 4)
OBLIQUE = rotation((11, -17, 9)) @ SAGITTAL
STACKS = {"sagittal": SAGITTAL, "oblique": OBLIQUE, "axial": np.eye(3)}
BACKWARDS = [1, 1, -1]


def made_up_scan(folder: Path, axes: np.ndarray = SAGITTAL, slices: int = SIZE[2], **changes: str) -> Scan:
    """Read small MR images, whatever their size.

    Args:
        changes: attributes of every image to set, or with "" to leave out.
    """

    def change(image: Dataset, _: int) -> None:
        for keyword, value in changes.items():
            setattr(image, keyword, value or None)
            if not value:
                delattr(image, keyword)

    volume = scan(axes, (*SIZE[:2], slices), (0.7, 0.9, 4.4))
    write_series(folder, volume, change=change, SliceThickness=4.0, **COMPLETE)
    series = "3" if slices == 1 else None
    return read_exam(ScanSource("scan", folder, "dicom"), folder, series, any_plane=True)


def mask_on(source: Scan, labels: tuple[int, ...] = (0, 1, 2, 3)) -> sitk.Image:
    """A mask of random labels."""
    size = source.image.GetSize()[::-1]
    return with_values(np.random.default_rng(0).choice(labels, size).astype(np.uint8), source.image)


@pytest.fixture
def source(tmp_path) -> Scan:
    return made_up_scan(tmp_path / "scan")


@pytest.fixture
def written(tmp_path) -> Callable[..., highdicom.seg.Segmentation]:
    """Write a mask, and read the DICOM-SEG."""

    def write_and_read(mask: sitk.Image, scan: Scan, labels=CLASSES) -> highdicom.seg.Segmentation:
        write_dicom_seg(mask, scan, tmp_path / "mask.dcm", segments_of(labels))
        return highdicom.seg.segread(tmp_path / "mask.dcm")

    return write_and_read


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("direction", [[1, 1, 1], BACKWARDS])
@pytest.mark.parametrize("slices", [1, SIZE[2]])
def test_every_image_has_its_slice_of_the_mask(tmp_path, written, stack, direction, slices):
    source = made_up_scan(tmp_path / "scan", STACKS[stack] * direction, slices)
    mask = mask_on(source)
    seg = written(mask, source)
    uids = [dcmread(one.path).SOPInstanceUID for one in source.slices]
    for name, code in CODES.items():
        pixels = seg.get_pixels_by_source_instance(
            uids,
            segment_numbers=seg.get_segment_numbers(segmented_property_type=highdicom.sr.CodedConcept(*code)),
            assert_missing_frames_are_empty=True,
        )
        np.testing.assert_array_equal(pixels[..., 0], sitk.GetArrayFromImage(mask) == CLASSES[name])


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # pydicom's, of what breaks the standard here
@pytest.mark.parametrize(
    "changes",
    [
        {"SliceThickness": ""},
        {"PatientBirthDate": "1975"},
        {"StudyDate": "yesterday", "StudyTime": "noon"},
        {"SeriesNumber": 2**31 - 5},
        {"SeriesNumber": ""},
        dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"), ""),
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_what_careless_software_left_in_the_series_is_no_obstacle(changes, tmp_path, written):
    with pydicom.config.disable_value_validation():
        source = made_up_scan(tmp_path / "scan", **changes)
    seg = written(mask_on(source), source)
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime", "SeriesNumber", "PatientName"):
        element = seg[keyword]
        validate_value(element.VR, str(element.value), pydicom.config.RAISE)
    assert 0 < seg.SeriesNumber < 2**31
    assert seg.StudyInstanceUID == source.slices[0].study
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == pytest.approx(4.4 if "SliceThickness" in changes else 4.0)


@pytest.mark.parametrize("axes", [SAGITTAL, OBLIQUE], ids=["sagittal", "oblique"])
@pytest.mark.parametrize("direction", [[1, 1, 1], BACKWARDS])
def test_every_voxel_is_where_it_is_in_the_mask(tmp_path, axes, direction):
    """Frames by their own plane positions, without asking which image they name."""
    source = made_up_scan(tmp_path / "scan", axes * direction)
    mask = mask_on(source)
    write_dicom_seg(mask, source, tmp_path / "mask.dcm", segments_of(CLASSES))
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


def test_only_structures_that_are_there_are_segments(source, written):
    seg = written(mask_on(source, (0, 1, 3)), source)
    segments = seg.SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["spinal_canal", "ivd"]
    assert [segment.SegmentNumber for segment in segments] == [1, 2]
    assert {segment.SegmentAlgorithmType for segment in segments} == {"AUTOMATIC"}
    algorithm = segments[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("SpineSegDiff", __version__)


def test_levels_are_segments_with_their_names_codes_and_colors(source, tmp_path):
    levels = level_segments({1: "L5", 100: "spinal canal", 106: "T12", 201: "L5-S1", 207: "T11-T12"})
    mask = mask_on(source, (0, *(level.number for level in levels)))
    write_dicom_seg(mask, source, tmp_path / "levels.dcm", levels)
    seg = highdicom.seg.segread(tmp_path / "levels.dcm")
    uids = [dcmread(one.path).SOPInstanceUID for one in source.slices]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for place, level in enumerate(levels):
        described = seg.get_segment_description(place + 1)
        assert described.segment_label == level.name
        concept = described.segmented_property_type
        assert (concept.value, concept.scheme_designator, concept.meaning) == level.code
        color = highdicom.color.CIELabColor.from_dicom_value(described.RecommendedDisplayCIELabValue)
        np.testing.assert_allclose(color.to_rgb(clip=True), level.color, atol=2)
        np.testing.assert_array_equal(pixels[..., place], sitk.GetArrayFromImage(mask) == level.number)


def test_labels_of_another_order(source, written):
    mask = mask_on(source, (0, 9, 4))
    seg = written(mask, source, {"ivd": 4, "background": 0, "vertebrae": 9})
    uids = [dcmread(one.path).SOPInstanceUID for one in source.slices]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["ivd", "vertebrae"]
    for segment, label in enumerate((4, 9)):
        np.testing.assert_array_equal(pixels[..., segment], sitk.GetArrayFromImage(mask) == label)


def test_patient_and_study_are_carried_over_and_the_series_is_new(source, written):
    first, seg = dcmread(source.dicom_files[0]), written(mask_on(source), source)
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == first[keyword].value
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    assert seg.SeriesDescription == "Lumbar spine, research use only"
    assert seg.SoftwareVersions == __version__


@pytest.fixture
def refused(tmp_path) -> Callable[..., None]:
    """Refused in one line, and nothing is left behind."""

    def refuse(mask: sitk.Image, source: Scan, says: str, labels=CLASSES) -> None:
        folder = tmp_path / "results"
        with pytest.raises(UserError, match=says) as error:
            write_dicom_seg(mask, source, folder / "mask.dcm", segments_of(labels))
        assert "\n" not in str(error.value)
        assert not folder.exists() or not list(folder.iterdir())

    return refuse


def test_masks_and_series_that_cannot_be_written(tmp_path, source, refused):
    refused(mask_on(source, (0,)), source, "holds no structure")
    refused(mask_on(source), source, "no SNOMED CT code .* label 3", {"spinal_canal": 1, "vertebrae": 2})


def test_masks_on_another_grid(tmp_path, source, refused):
    mask = mask_on(source)
    refused(mask[:, :, :-1], source, "7 x 5 x 3 voxels instead of 7 x 5 x 4")
    refused(mask[:, :, ::-1], source, "not on the grid of")
    refused(mask, made_up_scan(tmp_path / "other", rotation((0, 0, 6)) @ SAGITTAL), "not on the grid of")
    unframed = made_up_scan(tmp_path / "unframed", FrameOfReferenceUID="")
    refused(mask_on(unframed), unframed, "no DICOM-SEG can be made .*Frame Of Reference")


def test_files_that_changed_since_they_were_read(source, refused):
    changed = source.dicom_files[2]
    changed.write_bytes(b"no DICOM")
    refused(mask_on(source), source, f"{changed.name}: cannot be read as DICOM")
    changed.unlink()
    refused(mask_on(source), source, f"{changed.name}: cannot be read as DICOM")


def test_nothing_is_left_where_writing_fails(tmp_path, source, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", full)
    with pytest.raises(OSError, match="disk full"):
        write_dicom_seg(mask_on(source), source, tmp_path / "results" / "mask.dcm", segments_of(CLASSES))
    assert not list((tmp_path / "results").iterdir())


def test_missing_highdicom_is_told_before_anything_is_computed(source, refused, monkeypatch):
    check_highdicom()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nnunetv2_spinesegdiff\[dicom\]'"):
        check_highdicom()
    refused(mask_on(source), source, "not installed")


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
    assert set(CODES) == set(CLASSES) - {"background"}
    assert tuple(codes.SCT.AnatomicalStructure)[:3] == CATEGORY
    assert CODES["spinal_canal"] == tuple(codes.SCT.VertebralCanal)[:3]
    assert CODES["vertebrae"] == tuple(codes.SCT.Vertebra)[:3]
    for number, scheme, _ in (CATEGORY, *CODES.values()):
        assert scheme == "SCT"
        assert number[-3:-1] == "00"
        assert verhoeff(number)
        assert not verhoeff(number[:-1] + str((int(number[-1]) + 1) % 10))
