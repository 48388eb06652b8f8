"""Maps lie over the scan: every voxel's value at the world position of the scan's voxel it belongs to."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import writing
from nnunetv2_spinesegdiff.inference.maps import check_supported, direction_of, write_map, write_maps

from ..full_disk import says_that_the_disk_is_full

READERS = [SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient]
SIZE = (4, 5, 7)
SPACING = (0.7, 1.1, 4.3)


def turn(degrees: tuple[float, float, float]) -> np.ndarray:
    """A rotation matrix, about x, y and z in turn."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = [k for k in range(3) if k != axis]
        step = np.eye(3)
        step[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = matrix @ step
    return matrix


def signed_permutations() -> list[np.ndarray]:
    return [
        np.eye(3)[list(p)] * signs for p in permutations(range(3)) for signs in product([1, -1], repeat=3)
    ]


OBLIQUE = turn((14, -9, 21))


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


def check_round_trip(
    reader: type[BaseReaderWriter], folder: Path, direction: np.ndarray, ending: str = ".nii.gz"
) -> None:
    """One map and three, on a scan with these cosines."""
    scan = write_scan(folder / f"scan{ending}", direction)
    array, properties = reader().read_images([str(folder / f"scan{ending}")])
    numbers = array[0].astype(int) - 1
    shape = numbers.shape
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    values = np.stack([1000 * z + 50 * y + x + 0.25, np.sin(z + 2 * y + 3 * x), x - y]).astype(np.float32)
    expected = np.empty((numbers.size, 3), dtype=np.float32)
    expected[numbers.ravel()] = values.reshape(3, -1).T

    write_map(values[0], folder / "one.nii.gz", properties)
    write_maps(values, folder / "three.nii.gz", properties)
    for name, columns in (("one", expected[:, :1]), ("three", expected)):
        check_placed(folder / f"{name}.nii.gz", scan, columns)
        check_geometry(folder / f"{name}.nii.gz", scan)
    assert nibabel.Nifti1Image.from_filename(folder / "one.nii.gz").get_data_dtype() == np.float32
    assert nibabel.Nifti1Image.from_filename(folder / "three.nii.gz").shape == (*SIZE, 3)
    assert nibabel.Nifti1Image.from_filename(folder / "three.nii.gz").get_data_dtype() == np.float32


@pytest.mark.parametrize("reader", READERS)
def test_maps_lie_over_oblique_flipped_and_permuted_scans(reader, tmp_path):
    for direction in signed_permutations()[::5]:
        check_round_trip(reader, tmp_path, OBLIQUE @ direction)


@pytest.mark.parametrize("reader", READERS)
def test_maps_lie_over_straight_scans(reader, tmp_path):
    for direction in signed_permutations()[1::7]:
        check_round_trip(reader, tmp_path, direction)


@pytest.mark.parametrize("reader", [SimpleITKIO, SimpleITKIOWithReorient])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_scans_in_other_formats_get_nifti_at_the_same_place(reader, ending, tmp_path):
    check_round_trip(reader, tmp_path, OBLIQUE @ signed_permutations()[29], ending)


@pytest.mark.parametrize("reader", READERS)
def test_the_map_lies_where_nnunets_mask_lies(reader, tmp_path):
    write_scan(tmp_path / "scan.nii.gz", OBLIQUE @ signed_permutations()[11])
    array, properties = reader().read_images([str(tmp_path / "scan.nii.gz")])
    seg = (array[0] % 7).astype(np.uint8)
    reader().write_seg(seg, str(tmp_path / "mask.nii.gz"), properties)
    write_map(seg.astype(np.float32), tmp_path / "map.nii.gz", properties)
    mask, written = (
        nibabel.Nifti1Image.from_filename(tmp_path / f"{name}.nii.gz") for name in ("mask", "map")
    )
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(written.dataobj))
    np.testing.assert_allclose(mask.affine, written.affine, atol=1e-5)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_2d_file_gets_a_2d_map_and_4d_maps(ending, tmp_path):
    scan = write_scan(tmp_path / f"scan{ending}", np.array([[0.0, -1.0], [1.0, 0.0]]), (5, 7))
    array, properties = SimpleITKIO().read_images([str(tmp_path / f"scan{ending}")])
    assert array.shape == (1, 1, 7, 5)
    values = np.stack([array[0] * 0.5, array[0] + 3, -array[0]])
    write_map(values[0], tmp_path / "one.nii.gz", properties)
    write_maps(values, tmp_path / "three.nii.gz", properties)
    one, three = (sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("one", "three"))
    assert one.GetDimension() == 2
    for name in ("one", "three"):
        check_geometry(tmp_path / f"{name}.nii.gz", scan)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one), values[0, 0])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(three), values)
    assert nibabel.Nifti1Image.from_filename(tmp_path / "three.nii.gz").shape == (5, 7, 1, 3)
    assert direction_of(properties) is None


def test_one_structure_is_written_in_4d_too(tmp_path):
    write_scan(tmp_path / "scan.nii.gz", OBLIQUE)
    for reader in READERS:
        array, properties = reader().read_images([str(tmp_path / "scan.nii.gz")])
        write_maps(array, tmp_path / "one.nii.gz", properties)
        assert nibabel.Nifti1Image.from_filename(tmp_path / "one.nii.gz").shape == (*SIZE, 1)


@pytest.mark.parametrize("reader", READERS)
def test_directions_are_those_of_the_array(reader, tmp_path):
    """A step along each axis of the array, found in the scan, goes where the cosines say."""
    for direction in (OBLIQUE @ matrix for matrix in signed_permutations()[::9]):
        scan = write_scan(tmp_path / "scan.nii.gz", direction)
        array, properties = reader().read_images([str(tmp_path / "scan.nii.gz")])
        ids = sitk.GetArrayFromImage(scan)

        def position(intensity: float, scan: sitk.Image = scan, ids: np.ndarray = ids) -> np.ndarray:
            index = np.argwhere(ids == intensity)[0][::-1]
            return np.array(scan.TransformIndexToPhysicalPoint(index.tolist()))

        found = direction_of(properties)
        assert found is not None
        for axis, neighbour in enumerate([(1, 0, 0), (0, 1, 0), (0, 0, 1)]):
            step = position(array[0][neighbour]) - position(array[0, 0, 0, 0])
            np.testing.assert_allclose(found[:, 2 - axis], step / np.linalg.norm(step), atol=1e-5)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
def test_readers_that_know_the_place_are_supported(reader):
    check_supported(reader)


@pytest.mark.parametrize("reader", ["NaturalImage2DIO", "Tiff3DIO", "MyOwnIO"])
def test_other_readers_are_refused_by_name(reader):
    with pytest.raises(UserError, match=rf"^{reader}: .*convert the scans to NIfTI"):
        check_supported(reader)


def test_properties_without_a_place_are_refused(tmp_path):
    for call, axes in ((write_map, 3), (write_maps, 4)):
        with pytest.raises(UserError, match=r"map\.nii\.gz: the scan's reader does not keep where it lies"):
            call(np.zeros((1,) * axes), tmp_path / "map.nii.gz", {"spacing": (999, 1, 1)})
    with pytest.raises(UserError):
        direction_of({"spacing": (999, 1, 1)})
    stuff = {"spacing": (1.0,) * 4, "origin": (0.0,) * 4, "direction": tuple(np.eye(4).ravel())}
    with pytest.raises(UserError, match="the scan has 4 axes"):
        write_map(np.zeros((2, 2, 2)), tmp_path / "map.nii.gz", {"sitk_stuff": stuff})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("call", [write_map, write_maps])
def test_a_map_that_fails_leaves_nothing_behind(reader, call, tmp_path, monkeypatch):
    def half(image: object, path: Path | str, *rest: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("the disk is full")

    write_scan(tmp_path / "scan.nii.gz", OBLIQUE)
    array, properties = reader().read_images([str(tmp_path / "scan.nii.gz")])
    monkeypatch.setattr(writing, "save_nifti", half)
    with pytest.raises(UserError, match="full"):
        call(array if call is write_maps else array[0], tmp_path / "map.nii.gz", properties)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_wrong_numbers_of_axes_are_a_bug(tmp_path):
    with pytest.raises(ValueError, match="expected 3 axes"):
        write_map(np.zeros((1, 2, 3, 4)), tmp_path / "a.nii.gz", {})
    with pytest.raises(ValueError, match="expected 4 axes"):
        write_maps(np.zeros((2, 3, 4)), tmp_path / "a.nii.gz", {})


@pytest.mark.parametrize("missing", [1, 9, 100])
@pytest.mark.parametrize("reader", READERS[:2])
def test_a_full_disk_leaves_no_map(reader, missing, tmp_path):
    write_scan(tmp_path / "scan.nii.gz", OBLIQUE)
    array, properties = reader().read_images([str(tmp_path / "scan.nii.gz")])
    values = np.random.default_rng(0).random(array[0].shape, np.float32)
    write_map(values, whole := tmp_path / "whole.nii.gz", properties)
    path = tmp_path / "full" / "map.nii.gz"
    path.parent.mkdir()
    most = whole.stat().st_size - missing
    assert says_that_the_disk_is_full(lambda: write_map(values, path, properties), most)
    assert not list(path.parent.iterdir())
