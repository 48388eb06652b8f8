"""Maps lie over the scan: every voxel's value at the world position of the scan's voxel it belongs to."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import writing
from nnunetv2_spinesegdiff.inference.maps import check_supported, direction_of, write_map, write_maps

from ..helpers.model_maps import OBLIQUE, READERS, SIZE, check_geometry, check_placed, write_scan
from ..helpers.spider_series import ALL_48

with_each_reader = pytest.mark.parametrize("reader", READERS)


def check_round_trip(reader: type[BaseReaderWriter], folder: Path, turn: np.ndarray, ending: str) -> None:
    """One map and three, on a scan with these cosines."""
    scan = write_scan(folder / f"scan{ending}", turn)
    array, properties = reader().read_images([str(folder / f"scan{ending}")])
    numbers = array[0].astype(int) - 1
    z, y, x = np.meshgrid(*map(np.arange, numbers.shape), indexing="ij")
    values = np.stack([1000 * z + 50 * y + x + 0.25, np.sin(z + 2 * y + 3 * x), x - y]).astype(np.float32)
    expected = np.empty((numbers.size, 3), dtype=np.float32)
    expected[numbers.ravel()] = values.reshape(3, -1).T

    write_map(values[0], folder / "one.nii.gz", properties)
    write_maps(values, folder / "three.nii.gz", properties)
    for name, columns in (("one", expected[:, :1]), ("three", expected)):
        check_placed(folder / f"{name}.nii.gz", scan, columns)
        check_geometry(folder / f"{name}.nii.gz", scan)
        assert nibabel.Nifti1Image.from_filename(folder / f"{name}.nii.gz").get_data_dtype() == np.float32
    assert nibabel.Nifti1Image.from_filename(folder / "three.nii.gz").shape == (*SIZE, 3)


@with_each_reader
@pytest.mark.parametrize("oblique", [True, False])
def test_maps_lie_over_oblique_flipped_and_permuted_scans(reader, oblique, tmp_path):
    turn = OBLIQUE if oblique else np.eye(3)
    for direction in ALL_48[1 - oblique :: 6]:
        check_round_trip(reader, tmp_path, turn @ direction, ".nii.gz")


@pytest.mark.parametrize("reader", READERS[:2])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_scans_in_other_formats_get_nifti_at_the_same_place(reader, ending, tmp_path):
    check_round_trip(reader, tmp_path, OBLIQUE @ ALL_48[29], ending)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_2d_file_gets_a_2d_map_and_4d_maps(ending, tmp_path):
    scan = write_scan(tmp_path / f"scan{ending}", np.array([[0.0, -1.0], [1.0, 0.0]]), (5, 7))
    array, properties = SimpleITKIO().read_images([str(tmp_path / f"scan{ending}")])
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


@with_each_reader
def test_directions_are_those_of_the_array_and_one_structure_has_four_axes_too(reader, tmp_path):
    """A step along each axis of the array, found in the scan, goes where the cosines point."""
    for direction in (OBLIQUE @ matrix for matrix in ALL_48[::9]):
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
    write_maps(array, tmp_path / "one.nii.gz", properties)
    assert nibabel.Nifti1Image.from_filename(tmp_path / "one.nii.gz").shape == (*SIZE, 1)


def test_readers_that_do_not_keep_the_place_are_refused_by_name():
    for reader in ("SimpleITKIO", "NibabelIOWithReorient"):
        check_supported(reader)
    for reader in ("NaturalImage2DIO", "Tiff3DIO", "MyOwnIO"):
        with pytest.raises(UserError, match=rf"^{reader}: .*NIfTI"):
            check_supported(reader)


def test_properties_without_a_place_are_refused(tmp_path):
    for call, axes in ((write_map, 3), (write_maps, 4)):
        with pytest.raises(UserError, match=r"map\.nii\.gz: "):
            call(np.zeros((1,) * axes), tmp_path / "map.nii.gz", {"spacing": (999, 1, 1)})
        with pytest.raises(ValueError, match=rf"expected {axes} axes"):
            call(np.zeros((1,) * (7 - axes)), tmp_path / "map.nii.gz", {})
    with pytest.raises(UserError):
        direction_of({"spacing": (999, 1, 1)})
    stuff = {"spacing": (1.0,) * 4, "origin": (0.0,) * 4, "direction": tuple(np.eye(4).ravel())}
    with pytest.raises(UserError, match="4 axes"):
        write_map(np.zeros((2, 2, 2)), tmp_path / "map.nii.gz", {"sitk_stuff": stuff})
    assert not list(tmp_path.iterdir())


@with_each_reader
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
