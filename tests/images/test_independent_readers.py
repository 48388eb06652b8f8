"""Positions and values of real scans, compared with readers that share no code with the package or ITK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.dicom import read_exam
from nnunetv2_spinesegdiff.images.scan import ScanSource

from ..helpers.independent_readers import (
    Volume,
    read_metaimage_by_hand,
    read_with_nibabel,
    read_with_pydicom,
)
from ..helpers.scan_files import values
from ..helpers.spider_series import SHARED_DATA

pytestmark = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"the real data is not in {SHARED_DATA}")

MM = 1e-4
READERS: dict[str, Callable[[Path], Volume]] = {".mha": read_metaimage_by_hand, ".gz": read_with_nibabel}

# Folder, number of files that are read and of files that are rejected, by reason.
FOLDERS = {
    "spider_space/images": {"": 30},
    "spider_space/masks": {"mask": 30},
    "spider_t2w/images": {"": 33},
    "spider_t2w/masks": {"mask": 33},
    "spider_weak/images": {"": 35},
    "spider_weak/masks": {"mask": 35},
    "spider_like/images": {"": 20},
    "spider_like/masks": {"mask": 20},
    "spider_middle": {"": 318, "field of view": 2},
    "real_lumbar/imagesTr": {"plane": 10},
    "real_lumbar/labelsTr": {"mask": 10},
    "robustness/sct_t2_lumbar": {"": 1, "plane": 1},
    "robustness/tptbox_mr": {"field of view": 1, "mask": 2},
}


def reason_to_reject(volume: Volume) -> str:
    """Why the voxels of a file are not those of a sagittal lumbar scan; empty if they may be."""
    if len(np.unique(volume.values.ravel("K")[::101])) <= 32:
        found = np.unique(volume.values)
        if len(found) <= 32 and np.array_equal(found, np.round(found)):
            return "mask"
    count = np.array(volume.values.shape)
    # Slices follow each other along the thickest axis, or the one of a single voxel.
    slices = int(np.argmin(count)) if count.min() == 1 else int(np.argmax(volume.spacing))
    extents = np.delete(count * volume.spacing, slices)
    if extents.min() < 100 or extents.max() > 600:
        return "field of view"
    steps = np.stack([volume.step_i, volume.step_j, np.cross(volume.step_i, volume.step_j)])
    return "" if np.argmax(np.abs(steps[slices])) == 0 else "plane"


def deviation_mm(image: sitk.Image, volume: Volume) -> float:
    """Largest distance between corner voxels, or between voxel sizes."""
    corners = volume.corners
    found = [image.TransformIndexToPhysicalPoint(corner) for corner in corners.tolist()]
    apart = np.linalg.norm(np.array(found) - volume.position(corners), axis=1).max()
    sizes = np.abs(np.array(image.GetSpacing()) - volume.spacing)
    return float(max(apart, np.nanmax(sizes)))


def assert_same(image: sitk.Image, volume: Volume) -> None:
    assert image.GetSize() == volume.values.shape
    assert deviation_mm(image, volume) < MM
    assert np.array_equal(values(image).T, volume.values)


def files_in(folder: str) -> Iterator[Path]:
    return (path for path in sorted((SHARED_DATA / folder).iterdir()) if path.suffix in READERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_files_are_where_an_independent_reader_has_them(folder, read):
    """Files that are rejected are counted by the reason that the independent reader finds in their voxels."""
    if not (SHARED_DATA / folder).is_dir():
        pytest.skip(f"no {folder} in {SHARED_DATA}")
    counted = dict.fromkeys(FOLDERS[folder], 0)
    for path in files_in(folder):
        volume = READERS[path.suffix](path)
        reason = reason_to_reject(volume)
        counted[reason] = counted.get(reason, 0) + 1
        if reason:
            with pytest.raises(UserError):
                read(path)
        if reason in ("", "plane"):
            assert_same(read(path, any_plane=bool(reason)).image, volume)
    assert counted == FOLDERS[folder]


def of_kind(kind: str) -> Callable[[Dataset], bool]:
    """Whether a frame is of this kind by its FrameType."""
    return lambda frame: frame.MRImageFrameTypeSequence[0].FrameType[3] == kind


ENHANCED = SHARED_DATA / "robustness" / "enhanced_dicom"


def assert_same_exam(path: Path, series: str | None, volume: Volume) -> None:
    """Compare what is read before anything asks whether it is a lumbar scan."""
    image = read_exam(ScanSource("exam", path, "dicom"), path, series, any_plane=True).image
    assert image.GetSize() == volume.values.shape
    assert deviation_mm(image, volume) < MM
    np.testing.assert_allclose(values(image).T, volume.values, rtol=1e-6)


@pytest.mark.skipif(not ENHANCED.is_dir(), reason=f"no {ENHANCED}")
def test_both_volumes_of_an_enhanced_file_are_where_its_frames_are(read, refused):
    path = ENHANCED / "In_Philips_IM_0027_fMAP.dcm"
    for kind in ("M", "FIELD_MAP"):
        assert_same_exam(path, f"801:{kind}", read_with_pydicom([path], of_kind(kind)))
    assert read(path, series="801:M").image.GetSize() == (64, 64, 32)
    assert refused(path), "two volumes, none of which was chosen"
    assert refused(path, series="801:FIELD_MAP"), "half of the values of a field map are negative"


@pytest.mark.skipif(not ENHANCED.is_dir(), reason=f"no {ENHANCED}")
def test_a_thin_slab_is_rejected_for_its_size_and_not_for_its_place(refused):
    """Six axial slices of a brain, 14 mm from foot to head."""
    paths = sorted(ENHANCED.glob("In_Siemens*.dcm"))
    for path in paths:
        volume = read_with_pydicom([path])
        assert reason_to_reject(volume) == "field of view"
        assert refused(path, any_plane=True)
        assert_same_exam(path, None, volume)
    assert len(paths) == 4
