"""DICOM segmentations, checked by dciodvfy and read back with highdicom."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.dicom_seg import CODES, write_dicom_seg
from nnunetv2_spinesegdiff.images.scan import Scan
from nnunetv2_spinesegdiff.images.writing import write_image
from nnunetv2_spinesegdiff.labels import CLASSES
from nnunetv2_spinesegdiff.segmentation.level_files import level_segments

from ..helpers.masks import segments_of
from ..helpers.scan_files import (
    COMPLETE,
    SAGITTAL,
    SPACING,
    item,
    scan,
    with_values,
    write_enhanced,
    write_series,
)
from ..helpers.spider_series import rotation

highdicom = pytest.importorskip("highdicom", reason="highdicom is an extra: pip install highdicom")
pytestmark = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="no dciodvfy: apt-get install dicom3tools"
)

STRUCTURES = {name: label for name, label in CLASSES.items() if label}
STACKS = {
    "plain": SAGITTAL,
    "oblique": rotation((7, -5, 12)) @ SAGITTAL,
    "columns negated": SAGITTAL * [-1, 1, 1],
    "rows negated": SAGITTAL * [1, -1, 1],
    "descending": SAGITTAL * [1, 1, -1],
}


def mask_of(scan: Scan) -> sitk.Image:
    """A block of every structure, no two of which have the same extent, and none of which is central."""
    array = np.zeros(scan.image.GetSize()[::-1], np.uint8)
    for label in STRUCTURES.values():
        start = 8 * label
        array[label : label + 2, start : start + 6 + label, start + 3 : start + 5 + 2 * label] = label
    return with_values(array, scan.image)


def errors_of(path: Path) -> list[str]:
    """What dciodvfy finds wrong."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert "Segmentation" in said, said
    return [line for line in said if line.startswith("Error")]


def assert_valid_and_in_place(scan: Scan, folder: Path) -> None:
    """Write the mask of a scan as DICOM segmentation and as NIfTI, and compare them."""
    mask = mask_of(scan)
    write_dicom_seg(mask, scan, folder / "seg.dcm", segments_of(STRUCTURES))
    write_image(mask, folder / "mask.nii.gz", scan)
    assert errors_of(folder / "seg.dcm") == []
    by_nibabel: Any = nib.load(folder / "mask.nii.gz")
    segmentation = highdicom.seg.segread(folder / "seg.dcm")
    for name, label in STRUCTURES.items():
        concept = highdicom.sr.CodedConcept(*CODES[name])
        numbers = segmentation.get_segment_numbers(segmented_property_type=concept)
        assert len(numbers) == 1
        volume = segmentation.get_volume(segment_numbers=numbers)
        found = centroid(volume.array[..., 0] > 0, volume.affine)
        expected = centroid(np.asarray(by_nibabel.dataobj) == label, by_nibabel.affine)
        assert np.abs(found - expected * [-1, -1, 1]).max() < min(SPACING) / 2


def centroid(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] @ np.argwhere(voxels).mean(axis=0) + affine[:3, 3]


def assert_frames_are_named(path: Path, written: Path, among: Collection[int] = range(1, 100)) -> None:
    """Every frame of the segmentation refers to a frame of the scan at its own position."""
    of_scan = dcmread(path).PerFrameFunctionalGroupsSequence
    for frame in dcmread(written).PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == dcmread(path).SOPInstanceUID
        assert source.ReferencedFrameNumber in among
        plane = of_scan[source.ReferencedFrameNumber - 1].PlanePositionSequence[0]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == plane.ImagePositionPatient


@pytest.mark.parametrize("stack", STACKS)
def test_of_a_classic_series(stack, tmp_path, read):
    write_series(tmp_path / "exam", scan(STACKS[stack]), **COMPLETE)
    assert_valid_and_in_place(read(tmp_path / "exam"), tmp_path)


def test_of_levels(tmp_path, read):
    write_series(tmp_path / "exam", scan(), **COMPLETE)
    source = read(tmp_path / "exam")
    array = sitk.GetArrayFromImage(mask_of(source))
    numbers = np.array([0, 100, 1, 201], np.uint8)[array]
    numbers[array.shape[0] - 1, :4, :4] = 25  # S1 has no code of its own
    levels = level_segments({1: "L5", 25: "S1", 100: "spinal canal", 201: "L5-S1"})
    write_dicom_seg(with_values(numbers, source.image), source, tmp_path / "seg.dcm", levels)
    assert errors_of(tmp_path / "seg.dcm") == []
    shown = [segment.SegmentLabel for segment in dcmread(tmp_path / "seg.dcm").SegmentSequence]
    assert shown == ["L5", "S1", "spinal canal", "L5-S1"]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("per_frame", [False, True])
def test_of_an_enhanced_file(stack, per_frame, tmp_path, read):
    """Some vendors store what the frames have in common in each of them."""
    path = write_enhanced(tmp_path / "scan.dcm", scan(STACKS[stack]), [3, 0, 5, 1, 6, 2, 4], **COMPLETE)
    if per_frame:
        image = dcmread(path)
        (shared,) = image.SharedFunctionalGroupsSequence
        for frame in image.PerFrameFunctionalGroupsSequence:
            frame.update(shared)
        image.SharedFunctionalGroupsSequence = [Dataset()]
        image.save_as(path)
    assert_valid_and_in_place(read(path), tmp_path)
    assert_frames_are_named(path, tmp_path / "seg.dcm")


def test_of_one_of_two_volumes_in_an_enhanced_file(tmp_path, read):
    """The segmentation refers to the frames of the chosen volume, and not to others at their place."""

    def echo(frame: Dataset, number: int) -> None:
        frame.MREchoSequence = item(EffectiveEchoTime=80.0 if number < 7 else 20.0)

    order = [*range(7), *range(6, -1, -1)]
    path = write_enhanced(tmp_path / "scan.dcm", scan(), order, echo, **COMPLETE)
    for series, frames in (("3:TE80", range(1, 8)), ("3:TE20", range(8, 15))):
        assert_valid_and_in_place(read(path, series=series), tmp_path)
        assert_frames_are_named(path, tmp_path / "seg.dcm", frames)


def test_several_enhanced_files_are_rejected(tmp_path, read):
    uids: dict[str, Any] = dict.fromkeys(("SeriesInstanceUID", "StudyInstanceUID"), generate_uid())
    for k in range(scan().GetSize()[2]):
        write_enhanced(tmp_path / "exam" / str(k), scan(), [k], **COMPLETE, **uids)
    made = read(tmp_path / "exam")
    assert made.image.GetSize() == scan().GetSize()
    with pytest.raises(UserError) as error:
        assert_valid_and_in_place(made, tmp_path)
    assert str(error.value).startswith(f"{made.dicom_files[0]}: ")
    assert not (tmp_path / "seg.dcm").exists()


def test_of_slices_whose_orientation_was_rounded_differently(tmp_path, read):
    def round_more(dataset: Dataset, k: int) -> None:
        digits = 5 + k % 3
        dataset.ImageOrientationPatient = [round(float(v), digits) for v in dataset.ImageOrientationPatient]

    write_series(tmp_path / "exam", scan(STACKS["oblique"]), change=round_more, **COMPLETE)
    assert_valid_and_in_place(read(tmp_path / "exam"), tmp_path)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # pydicom's, of what breaks the standard here
@pytest.mark.parametrize(
    "careless", [{"SliceThickness": None}, {"PatientBirthDate": "1950"}, {"SeriesNumber": 2**31 - 1}]
)
def test_of_a_series_that_breaks_the_standard(careless, tmp_path, read):
    with config.disable_value_validation():
        write_series(tmp_path / "exam", scan(), **(COMPLETE | careless))
    assert_valid_and_in_place(read(tmp_path / "exam"), tmp_path)
