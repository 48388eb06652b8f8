"""Masks mark the same positions as their scans, in the eyes of readers that share no code with ours or ITK.

The scans are generated: 200 headers in all kinds of files, the same in every run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from nnunetv2_spinesegdiff.images.finding import find_scans
from nnunetv2_spinesegdiff.images.reading import read_scan
from nnunetv2_spinesegdiff.images.writing import write_image

from ..helpers import independent_readers as others
from ..helpers import scan_files
from ..helpers.independent_readers import Volume, read_with_nibabel
from ..helpers.spider_series import rotation

MM = 1e-4
MARKS = 5
_FIRST_MARK = 2000


@dataclass(frozen=True)
class Header:
    """What is generated: a grid in LPS, and which of its voxels are marked."""

    size: tuple[int, ...]  # along the axes of the file
    spacing: tuple[float, ...]
    origin: tuple[float, ...]  # of voxel (0, 0, 0)
    columns: np.ndarray  # (3, 3), unit vectors of the axes; not at right angles if sheared
    seed: int  # of the noise and of the marked voxels

    @property
    def marked(self) -> np.ndarray:
        """Indices (MARKS, 3); the first one is the corner that is furthest from the first voxel."""
        rng = np.random.default_rng(self.seed)
        chosen = rng.choice(np.prod(self.size) - 1, MARKS - 1, replace=False)
        inner = np.stack(np.unravel_index(chosen, self.size), axis=1)
        return np.vstack([np.array(self.size) - 1, inner])

    @property
    def voxels(self) -> np.ndarray:
        """Values (i, j, k): noise, and 2000 and up at the marked voxels."""
        noise = np.random.default_rng(self.seed).integers(0, 900, self.size).astype("<i2")
        noise[tuple(self.marked.T)] = _FIRST_MARK + np.arange(MARKS)
        return noise

    @property
    def is_upright(self) -> bool:
        """Whether the axes are at right angles: others are put right when they are read."""
        return bool(np.abs(self.columns.T @ self.columns - np.eye(3)).max() < 1e-9)

    @property
    def steps(self) -> np.ndarray:
        """From voxel to voxel, one column an axis (3, 3)."""
        return self.columns * self.spacing

    @property
    def positions(self) -> np.ndarray:
        """Of the marked voxels, (MARKS, 3)."""
        return self.origin + self.marked @ self.steps.T

    def image(self) -> sitk.Image:
        image = sitk.GetImageFromArray(np.ascontiguousarray(self.voxels.T))
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.columns.ravel().tolist())
        return image


@st.composite
def headers(draw: Callable[..., Any], shear: float = 0.0, slices_last: bool = False) -> Header:
    """Grids of any orientation, handedness and order of axes; axes miss right angles by up to `shear`."""
    in_plane = st.floats(2.6, 3.2).map(lambda mm: round(mm, 5))
    spacing = [draw(in_plane), draw(in_plane), round(draw(st.floats(5, 9)), 5)]
    size = [draw(st.integers(40, 60)), draw(st.integers(40, 60)), draw(st.integers(3, 8))]
    order = [0, 1, 2] if slices_last else draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from([1, -1])) for _ in range(3)]
    turn = draw(st.one_of(st.just((0, 0, 0)), st.tuples(*[st.floats(-180, 180)] * 3)))
    cosines = (rotation(turn) @ np.eye(3)[:, draw(st.permutations(range(3)))]) * signs
    a, b = draw(st.permutations(range(3)))[:2]
    sheared = cosines.copy()
    angle = draw(st.one_of(st.just(0.0), st.floats(-shear, shear)))
    sheared[:, a] = np.cos(angle) * cosines[:, a] + np.sin(angle) * cosines[:, b]
    return Header(
        size=tuple(size[axis] for axis in order),
        spacing=tuple(spacing[axis] for axis in order),
        origin=tuple(round(draw(st.floats(-400, 400)), 5) for _ in range(3)),
        columns=sheared,
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def assert_mask_is_where_the_scan_is(
    header: Header, path: Path, read_of_scan: Callable[[Path], Volume], read_of_mask: Callable[[Path], Volume]
) -> None:
    """Mark voxels of the scan at `path` in a mask, write it, and compare the positions in both files."""
    folder = path.parent / "results"
    folder.mkdir()
    (source,) = find_scans(path)
    scan = read_scan(source, folder, any_plane=True)
    voxels = scan_files.values(scan.image)
    marks = np.where(voxels >= _FIRST_MARK, voxels - _FIRST_MARK + 1, 0).astype(np.uint8)
    mask = scan_files.with_values(marks, scan.image)
    expected = positions_of_marks(read_of_scan(path), _FIRST_MARK)
    # The oracle itself: a quaternion of float32 rounds.
    assert np.abs(expected - header.positions).max() < 0.2
    if header.is_upright:
        found = np.argwhere(marks.T)[np.argsort(marks.T[marks.T > 0])]
        positions = np.array([mask.TransformIndexToPhysicalPoint(index) for index in found.tolist()])
        assert np.linalg.norm(positions - expected, axis=1).max() < MM
    # Masks are compressed NIfTI files unless the scan's own format is asked for.
    for ending, read in {".nii.gz": read_with_nibabel, scan.ending: read_of_mask}.items():
        write_image(mask, folder / f"mask{ending}", scan)
        positions = positions_of_marks(read(folder / f"mask{ending}"), 1)
        assert np.linalg.norm(positions - expected, axis=1).max() < MM


def positions_of_marks(volume: Volume, first: int) -> np.ndarray:
    """Positions of the voxels with the values `first` and up, in this order."""
    indices = np.argwhere(volume.values >= first)
    order = np.argsort(volume.values[tuple(indices.T)])
    assert np.array_equal(volume.values[tuple(indices[order].T)], first + np.arange(MARKS))
    return volume.position(indices[order])


def generated(count: int) -> Callable[..., Any]:
    return settings(max_examples=count, derandomize=True, database=None)


NIFTI: st.SearchStrategy = st.one_of(
    st.tuples(
        headers(shear=5e-4),
        st.sampled_from([(0, 1), (1, 1), (2, 4)]),
        st.lists(st.sampled_from([1, 2, 3]), unique=True),
    ),
    # A quaternion has no shear, and without an sform negative voxel sizes are rejected.
    st.tuples(headers(), st.sampled_from([(1, 0), (3, 0)]), st.just([])),
)


@generated(70)
@given(drawn=NIFTI, ending=st.sampled_from([".nii", ".nii.gz"]))
def test_nifti(drawn, ending):
    """With sform, qform or both; with negative voxel sizes, sheared, plain and compressed."""
    header, codes, negative = drawn
    affine = np.eye(4)
    affine[:3] = np.diag([-1, -1, 1]) @ np.column_stack([header.steps, header.origin])
    sizes = {axis: -np.linalg.norm(affine[:3, axis - 1]) for axis in negative}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan{ending}"
        scan_files.write_nifti(path, header.voxels, affine, codes=codes, voxel_sizes=sizes)
        assert_mask_is_where_the_scan_is(header, path, read_with_nibabel, read_with_nibabel)


IN_FILES = {"packed": st.booleans(), "apart": st.booleans(), "order": st.sampled_from("<>")}
SPACES = {
    "left-posterior-superior": [1, 1, 1],
    "right-anterior-superior": [-1, -1, 1],
    "left-anterior-superior": [1, -1, 1],
}


@generated(45)
@given(header=headers(shear=5e-4), space=st.sampled_from(sorted(SPACES)), **IN_FILES)
def test_nrrd(header, space, packed, apart, order):
    """In one file, or with the voxels in a file of their own; in either byte order."""
    signs = np.array(SPACES[space])
    steps, origin, voxels = signs[:, None] * header.steps, signs * header.origin, header.voxels
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("scan.nhdr" if apart else "scan.nrrd")
        scan_files.write_nrrd(path, voxels.astype(f"{order}i2"), steps, origin, packed, space=space)
        assert_mask_is_where_the_scan_is(header, path, others.read_nrrd_by_hand, others.read_nrrd_by_hand)


@generated(35)
@given(header=headers(shear=5e-4), **IN_FILES)
def test_metaimage(header, packed, apart, order):
    """In one file, or with the voxels in a file of their own; in either byte order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("scan.mhd" if apart else "scan.mha")
        voxels, read = header.voxels.astype(f"{order}i2"), others.read_metaimage_by_hand
        scan_files.write_metaimage(path, voxels, header.steps, header.origin, packed)
        assert_mask_is_where_the_scan_is(header, path, read, read)


@generated(30)
@given(header=headers(slices_last=True), between=st.sampled_from([-4.4, 4.4, None]), data=st.data())
def test_classic_dicom(header, between, data):
    """Files and instance numbers are in no order, and SpacingBetweenSlices is right, wrong or negative."""
    numbers = data.draw(st.permutations(range(1, header.size[2] + 1)))

    def change(dataset: Dataset, k: int) -> None:
        dataset.InstanceNumber = numbers[k]
        if between is not None:
            dataset.SpacingBetweenSlices = between

    with tempfile.TemporaryDirectory() as folder:
        exam = Path(folder) / "exam"
        scan_files.write_series(exam, header.image(), change=change)
        assert_mask_is_where_the_scan_is(
            header, exam, lambda path: others.read_with_pydicom(path.iterdir()), read_with_nibabel
        )


@generated(20)
@given(header=headers(slices_last=True), data=st.data())
def test_enhanced_dicom(header, data):
    """Frames are in no order."""
    order = data.draw(st.permutations(range(header.size[2])))
    with tempfile.TemporaryDirectory() as folder:
        path = scan_files.write_enhanced(Path(folder) / "scan.dcm", header.image(), order)
        assert_mask_is_where_the_scan_is(
            header, path, lambda path: others.read_with_pydicom([path]), read_with_nibabel
        )
