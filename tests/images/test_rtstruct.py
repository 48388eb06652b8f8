"""RT structure sets, read with pydicom, filled by matplotlib, and compared with the NIfTI mask."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import rtstruct
from nnunetv2_spinesegdiff.images.rtstruct import outlines, write_rtstruct
from nnunetv2_spinesegdiff.images.scan import Scan
from nnunetv2_spinesegdiff.images.writing import write_image
from nnunetv2_spinesegdiff.segmentation.level_files import level_segments

from ..helpers.scan_files import COMPLETE, SAGITTAL, scan, with_values, write_enhanced, write_series
from ..helpers.spider_series import rotation

STACKS = {
    "plain": SAGITTAL,
    "oblique": rotation((7, -5, 12)) @ SAGITTAL,
    "columns negated": SAGITTAL * [-1, 1, 1],
    "rows negated": SAGITTAL * [1, -1, 1],
    "descending": SAGITTAL * [1, 1, -1],
}
LEVELS = level_segments({1: "L5", 2: "L4", 25: "S1", 100: "spinal canal", 201: "L5-S1", 202: "L4-L5"})
ORDER = [3, 0, 5, 1, 6, 2, 4]


def mask_on(scan: Scan) -> sitk.Image:
    """An ellipse of every level, none central. L5 has holes and an island in one, S1 is a single voxel."""
    array = np.zeros(scan.image.GetSize()[::-1], np.uint8)
    row, column = np.indices(array.shape[1:])
    for place, level in enumerate(LEVELS):
        center, (height, width) = (9 + 8 * place, 20 + 6 * place), (3 + place, 13 - place)
        inside = ((row - center[0]) / height) ** 2 + ((column - center[1]) / width) ** 2 <= 1
        array[place % 3 : 3 + place % 4, inside] = level.number
    array[array == 25] = 0
    array[6, 0, 0] = 25
    array[1:3, 7:12, 13:18] = array[1, 9, 22] = array[1, 11, 22] = 0
    array[1:3, 9, 15] = 1
    return with_values(array, scan.image)


def contours_of(written: Dataset, number: int) -> Iterator[tuple[np.ndarray, Dataset]]:
    """Points (n, 3) of every contour of an ROI, LPS in mm, and what it says."""
    (roi,) = [one for one in written.ROIContourSequence if one.ReferencedROINumber == number]
    for contour in roi.ContourSequence:
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        assert contour.NumberOfContourPoints == len(points)
        assert not np.array_equal(points[0], points[-1]), "the first point is not repeated"
        yield points, contour


def filled(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centers are in a polygon (n, 2)."""
    centers = np.stack(np.indices(size), axis=-1).reshape(-1, 2)
    return Polygon(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(centers).reshape(size)


def center_of(polygon: np.ndarray) -> tuple[float, np.ndarray]:
    """Signed area and centroid of a polygon (n, 2)."""
    following = np.roll(polygon, -1, axis=0)
    cross = polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]
    area = cross.sum() / 2
    return area, ((polygon + following) * cross[:, None]).sum(axis=0) / (6 * area)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Scan], Dataset]:
    def write_and_read(source: Scan) -> Dataset:
        write_rtstruct(mask_on(source), source, tmp_path / "mask.dcm", LEVELS)
        return dcmread(tmp_path / "mask.dcm")

    return write_and_read


def assert_in_place(written: Dataset, source: Scan, folder: Path) -> None:
    """Every ROI, filled in the voxels of the NIfTI file, is that level of the mask."""
    write_image(mask_on(source), folder / "mask.nii.gz", source)
    nifti = nib.Nifti1Image.from_filename(folder / "mask.nii.gz")
    mask, to_voxels = np.asarray(nifti.dataobj), np.linalg.inv(nifti.affine)
    for number, level in enumerate(LEVELS, start=1):
        found, sums = np.zeros(mask.shape, bool), np.zeros(4)
        for points, _ in contours_of(written, number):
            voxels = (points * [-1, -1, 1]) @ to_voxels[:3, :3].T + to_voxels[:3, 3]
            (plane,) = np.unique(voxels[:, 2].round().astype(int))
            np.testing.assert_allclose(voxels[:, 2], plane, atol=1e-3)
            area, center = center_of(voxels[:, :2])
            sums += [abs(area), *(abs(area) * center), abs(area) * plane]
            found[..., plane] ^= filled(voxels[:, :2], mask.shape[:2])
        expected = mask == level.number
        np.testing.assert_array_equal(found, expected)
        center = np.argwhere(expected).mean(axis=0)
        assert np.abs(sums[1:] / sums[0] - center).max() < 0.1, (
            "voxels; a shift of less than half would fill alike"
        )


def assert_images_are_named(written: Dataset, source: Scan) -> None:
    """Every contour is in the plane of the image, or frame, that it refers to."""
    headers = {dcmread(path).SOPInstanceUID: dcmread(path) for path in source.dicom_files}
    for number in range(1, len(LEVELS) + 1):
        for points, contour in contours_of(written, number):
            (reference,) = contour.ContourImageSequence
            image = headers[reference.ReferencedSOPInstanceUID]
            assert reference.ReferencedSOPClassUID == image.SOPClassUID
            if "NumberOfFrames" in image:
                group = image.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
                position = group.PlanePositionSequence[0].ImagePositionPatient
                shared = image.SharedFunctionalGroupsSequence[0]
                orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            else:
                assert "ReferencedFrameNumber" not in reference
                position, orientation = image.ImagePositionPatient, image.ImageOrientationPatient
            normal = np.cross(orientation[:3], orientation[3:])
            np.testing.assert_allclose((points - np.array(position, dtype=float)) @ normal, 0, atol=1e-3)


@pytest.mark.parametrize("stack", STACKS)
def test_of_a_classic_series(stack, tmp_path, read, written):
    write_series(tmp_path / "exam", scan(STACKS[stack]), **COMPLETE)
    source = read(tmp_path / "exam")
    made = written(source)
    assert_in_place(made, source, tmp_path)
    assert_images_are_named(made, source)


@pytest.mark.parametrize("stack", STACKS)
def test_of_an_enhanced_file(stack, tmp_path, read, written):
    source = read(write_enhanced(tmp_path / "scan.dcm", scan(STACKS[stack]), ORDER, **COMPLETE))
    made = written(source)
    assert_in_place(made, source, tmp_path)
    assert_images_are_named(made, source)


def test_of_several_enhanced_files(tmp_path, read, written):
    uids = dict.fromkeys(("SeriesInstanceUID", "StudyInstanceUID"), generate_uid())
    for k in range(scan().GetSize()[2]):
        write_enhanced(tmp_path / "exam" / str(k), scan(), [k], **COMPLETE, **uids)
    source = read(tmp_path / "exam")
    made = written(source)
    assert_in_place(made, source, tmp_path)
    assert_images_are_named(made, source)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy: apt-get install dicom3tools")
@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize(
    "gone", [(), ("PatientName", "StudyID", "AccessionNumber", "PatientSex", "SeriesNumber")]
)
def test_dciodvfy_finds_no_error(enhanced, gone, tmp_path, read, written):
    write = write_enhanced if enhanced else write_series
    source = read(write(tmp_path / "exam", scan(), **(COMPLETE | dict.fromkeys(gone))))
    written(source)
    done = subprocess.run(
        ["dciodvfy", str(tmp_path / "mask.dcm")], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert "RTStructureSet" in lines
    assert not [line for line in lines if line.startswith("Error")]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_outlines_filled_are_the_mask(shape):
    """With any number of parts, holes, parts in holes and pixels that touch at corners."""
    found = np.zeros(shape.shape, int)
    for outline in outlines(shape):
        found += filled(outline, shape.shape)
    np.testing.assert_array_equal(found, shape)


def test_a_hole_is_joined_to_the_outline_around_it():
    shape = np.zeros((9, 12), bool)
    shape[1:8, 1:11] = True
    shape[3:5, 3:5] = shape[5, 4] = shape[6, 7:9] = False
    (outline,) = outlines(shape)
    area, _ = center_of(outline)
    # Every convex corner cuts an eighth of a pixel off, every concave one adds it: 4 - 5 + 1 - 4 of them.
    assert abs(area) == pytest.approx(shape.sum() - (4 - 5 + 1 - 4) / 8)


def test_regions_have_the_names_colors_and_codes_of_the_levels(tmp_path, read, written):
    write_series(tmp_path / "exam", scan(), **COMPLETE)
    made = written(read(tmp_path / "exam"))
    for sequence, number in (
        (made.StructureSetROISequence, "ROINumber"),
        (made.ROIContourSequence, "ReferencedROINumber"),
        (made.RTROIObservationsSequence, "ReferencedROINumber"),
    ):
        assert [one[number].value for one in sequence] == list(range(1, len(LEVELS) + 1))
    for place, level in enumerate(LEVELS):
        roi, observation = made.StructureSetROISequence[place], made.RTROIObservationsSequence[place]
        (code,) = observation.RTROIIdentificationCodeSequence
        assert roi.ROIName == level.name
        assert tuple(made.ROIContourSequence[place].ROIDisplayColor) == level.color
        assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == level.code
        assert roi.ReferencedFrameOfReferenceUID == COMPLETE["FrameOfReferenceUID"]


def test_patient_and_study_are_carried_over_and_the_series_is_new(tmp_path, read, written):
    name = {"PatientName": "Müller^Jörg", "SpecificCharacterSet": "ISO_IR 192"}
    write_series(tmp_path / "exam", scan(), **(COMPLETE | name))
    source = read(tmp_path / "exam")
    first, made = dcmread(source.dicom_files[0]), written(source)
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[keyword].value == first[keyword].value
    assert (str(made.PatientName), made.SpecificCharacterSet) == ("Müller^Jörg", "ISO_IR 192")
    assert made.SeriesInstanceUID != first.SeriesInstanceUID
    (frame,) = made.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == first.StudyInstanceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    named = {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence}
    assert named == {dcmread(path).SOPInstanceUID for path in source.dicom_files}


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # pydicom's, of what breaks the standard here
def test_what_careless_software_left_in_the_series_is_no_obstacle(tmp_path, read, written):
    careless = {
        "PatientBirthDate": "1975",
        "StudyTime": "noon",
        "SeriesNumber": 2**31 - 5,
        "SliceThickness": None,
    }
    with pydicom.config.disable_value_validation():
        write_series(tmp_path / "exam", scan(), **(COMPLETE | careless))
    source = read(tmp_path / "exam")
    made = written(source)
    assert (made.PatientBirthDate, made.StudyTime) == ("", "")
    assert 0 < made.SeriesNumber < 2**31
    assert_in_place(made, source, tmp_path)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., None]:
    """Refused in one line that begins with a path, and nothing is left behind."""

    def refuse(mask: sitk.Image, source: Scan, subject: Path) -> None:
        with pytest.raises(UserError) as error:
            write_rtstruct(mask, source, tmp_path / "results" / "mask.dcm", LEVELS)
        assert error.value.subject == subject
        assert "\n" not in str(error.value)
        assert not (tmp_path / "results").exists()

    return refuse


def test_masks_that_cannot_be_written(tmp_path, read, refused):
    write_series(tmp_path / "exam", scan(), **COMPLETE)
    source, path = read(tmp_path / "exam"), tmp_path / "results" / "mask.dcm"
    refused(mask_on(source) * 0, source, path)
    refused(mask_on(source) * 0 + 77, source, path)
    refused(mask_on(source)[:, :, ::-1], source, path)
    source.dicom_files[2].write_bytes(b"no DICOM")
    refused(mask_on(source), source, source.dicom_files[2])


@pytest.mark.parametrize("uid", [None, ""])
def test_a_series_without_a_frame_of_reference_is_rejected(uid, tmp_path, read, refused):
    write_series(tmp_path / "exam", scan(), **(COMPLETE | {"FrameOfReferenceUID": uid}))
    source = read(tmp_path / "exam")
    refused(mask_on(source), source, source.dicom_files[0])


def test_nothing_is_left_where_writing_fails(tmp_path, read, monkeypatch):
    def full(path: Path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    write_series(tmp_path / "exam", scan(), **COMPLETE)
    source = read(tmp_path / "exam")
    monkeypatch.setattr(rtstruct, "dcmwrite", full)
    with pytest.raises(OSError, match="disk full"):
        write_rtstruct(mask_on(source), source, tmp_path / "results" / "mask.dcm", LEVELS)
    assert not list((tmp_path / "results").iterdir())
