"""Maps over scans: where every voxel lies, according to SimpleITK and to nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from .spider_series import rotation

READERS = [SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient]
SIZE = (4, 5, 7)
SPACING = (0.7, 1.1, 4.3)


OBLIQUE = rotation((14, -9, 21))


def write_scan(path: Path, direction: np.ndarray, size: tuple[int, ...] = SIZE) -> sitk.Image:
    """A scan whose voxels are numbered, so that the reader's array tells which voxel went where."""
    axes = len(size)
    image = sitk.GetImageFromArray(np.arange(1.0, np.prod(size) + 1, dtype=np.float32).reshape(size[::-1]))
    image.SetSpacing(SPACING[:axes])
    image.SetOrigin((-31.5, 12.25, 107.0)[:axes])
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return sitk.ReadImage(str(path))


def placed_by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """LPS positions (N, 3) and values (N,) or (N, K) of all voxels, as SimpleITK places them."""
    image = sitk.ReadImage(str(path))
    array = np.moveaxis(sitk.GetArrayFromImage(image), 0, -1) if image.GetDimension() == 4 else None
    array = sitk.GetArrayFromImage(image)[..., None] if array is None else array
    size = image.GetSize()[:3]
    positions = [
        image.TransformIndexToPhysicalPoint((*index[::-1], *[0] * (image.GetDimension() - 3)))[:3]
        for index in np.ndindex(*size[::-1])
    ]
    return np.array(positions), array.reshape(len(positions), -1)


def placed_by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same as nibabel places them."""
    image = nibabel.Nifti1Image.from_filename(path)
    array = np.asarray(image.dataobj)
    indices = np.array(list(np.ndindex(*array.shape[:3])))
    ras = nibabel.affines.apply_affine(image.affine, indices)
    return ras * [-1, -1, 1], array.reshape(len(indices), -1)


def check_placed(path: Path, scan: sitk.Image, expected: np.ndarray) -> None:
    """Every voxel of the map holds the values that belong to the scan's voxel at the same position.

    Args:
        expected: (N, K), row n for the voxel whose intensity is n + 1.
    """
    ids = sitk.GetArrayFromImage(scan)
    for placed in (placed_by_itk, placed_by_nibabel):
        positions, values = placed(path)
        assert len(positions) == ids.size
        found = []
        for position in positions:
            index = np.array(scan.TransformPhysicalPointToContinuousIndex(position.tolist()))
            assert np.abs(index - index.round()).max() < 1e-4
            found.append(ids[tuple(index.round().astype(int)[::-1])])
        assert sorted(found) == sorted(ids.ravel())
        np.testing.assert_array_equal(values, expected[np.array(found).astype(int) - 1])


def check_geometry(path: Path, scan: sitk.Image) -> None:
    written = sitk.ReadImage(str(path))
    axes = scan.GetDimension()
    assert written.GetSize()[:axes] == scan.GetSize()
    np.testing.assert_allclose(written.GetOrigin()[:axes], scan.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(written.GetSpacing()[:axes], scan.GetSpacing(), atol=1e-5)
    n = written.GetDimension()
    direction = np.reshape(written.GetDirection(), (n, n))[:axes, :axes]
    np.testing.assert_allclose(direction.ravel(), scan.GetDirection(), atol=1e-5)
