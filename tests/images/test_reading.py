"""The same scan comes out of every kind of file."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.finding import find_scans
from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm
from nnunetv2_spinesegdiff.images.reading import read_scan
from nnunetv2_spinesegdiff.images.scan import Scan, ScanSource

from ..helpers.spider_series import rotation
from .made_up import (
    SAGITTAL,
    lps_to_ras,
    scan,
    values,
    write,
    write_enhanced,
    write_nifti,
    write_series,
    zipped,
)


def write_dicom(image: sitk.Image, path: Path) -> Path:
    write_series(path, image)
    return path


def write_zip(image: sitk.Image, path: Path) -> Path:
    write_series(path / "inner" / "series", image)
    return zipped(path / "inner", path / "exam.ZIP")


def write_nested(image: sitk.Image, path: Path) -> Path:
    """An exam of a sagittal and an axial series, in one study, two folders down."""
    study = "1.2.826.0.1.3680043.8.498.1"
    write_series(path / "DICOM" / "S1", image, study=study)
    axial = scan(np.eye(3), (64, 64, 5), (2, 2, 6))
    write_series(path / "DICOM" / "S2", axial, study=study, SeriesNumber=4, SeriesDescription="T2 ax")
    return path


def write_upper_case(image: sitk.Image, path: Path) -> Path:
    return write(image, path / "a.nii.gz").rename(path / "B.NII.GZ")


WRITERS: dict[str, Callable[[sitk.Image, Path], Path]] = {
    "nii": lambda image, path: write(image, path / "a.nii"),
    "nii.gz": lambda image, path: write(image, path / "a.nii.gz"),
    "NII.GZ": write_upper_case,
    "mha": lambda image, path: write(image, path / "a.mha"),
    "compressed mha": lambda image, path: write(image, path / "a.mha", compressed=True),
    "mhd": lambda image, path: write(image, path / "a.mhd"),
    "compressed mhd": lambda image, path: write(image, path / "a.mhd", compressed=True),
    "nrrd": lambda image, path: write(image, path / "a.nrrd"),
    "compressed nrrd": lambda image, path: write(image, path / "a.nrrd", compressed=True),
    "nhdr": lambda image, path: write(image, path / "a.nhdr"),
    "compressed nhdr": lambda image, path: write(image, path / "a.nhdr", compressed=True),
    "DICOM": write_dicom,
    "zip": write_zip,
    "nested DICOM": write_nested,
    "enhanced DICOM": lambda image, path: write_enhanced(path / "a", image),
}


def assert_same(read: sitk.Image, image: sitk.Image) -> None:
    assert grids_differ_by_mm(Grid.of(read), Grid.of(image)) < 1e-3
    assert np.array_equal(values(read), values(image))


@pytest.mark.parametrize("kind", WRITERS)
def test_every_file_gives_the_same_voxels_at_the_same_place(kind, tmp_path, read):
    image = scan(rotation((4, -5, 6)) @ SAGITTAL)
    made = read(WRITERS[kind](image, tmp_path / "exam"))
    assert_same(made.image, image)
    assert made.image.GetPixelID() == image.GetPixelID()
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("nii", ".nii"),
        ("NII.GZ", ".nii.gz"),
        ("mha", ".mha"),
        ("mhd", ".mha"),
        ("nrrd", ".nrrd"),
        ("nhdr", ".nrrd"),
        ("DICOM", ".nii.gz"),
        ("zip", ".nii.gz"),
    ],
)
def test_results_have_the_scans_own_format_where_that_is_one_file(kind, ending, tmp_path, read):
    assert read(WRITERS[kind](scan(), tmp_path / "exam")).ending == ending


ORIENTATIONS = [
    (list(order), np.array(signs))
    for order, signs in zip(permutations(range(3)), product((1, -1), repeat=3), strict=False)
]


@pytest.mark.parametrize("kind", ["nii.gz", "compressed mha", "nhdr"])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_axes_in_any_order_and_direction_are_read_as_itk_reads_them(kind, order, signs, tmp_path, read):
    size, spacing = np.array((70, 64, 7)), np.array((1.7, 1.8, 4.4))
    cosines = (rotation((3, 2, -4)) @ SAGITTAL * signs)[:, order]
    path = WRITERS[kind](scan(cosines, size[order].tolist(), spacing[order].tolist()), tmp_path)
    made = read(path).image
    expected = sitk.ReadImage(str(path))
    assert grids_differ_by_mm(Grid.of(made), Grid.of(expected)) < 1e-4
    assert np.array_equal(values(made), values(expected))


@pytest.mark.parametrize("kind", ["DICOM", "zip", "enhanced DICOM"])
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_slices_of_dicom_lie_where_they_lay(kind, signs, tmp_path, read):
    """A left-handed image is turned round by its slices: DICOM's slices follow the normal of their plane."""
    image = scan(rotation((3, 2, -4)) @ SAGITTAL * np.array(signs))
    made = read(WRITERS[kind](image, tmp_path / "exam")).image
    for k in range(image.GetSize()[2]):
        place = made.TransformPhysicalPointToContinuousIndex(image.TransformIndexToPhysicalPoint((0, 0, k)))
        assert np.allclose(place[:2], 0, atol=1e-4)
        assert np.array_equal(values(made)[round(place[2])], values(image)[k])


def test_the_files_of_a_series_are_in_the_order_of_its_slices(tmp_path, read):
    write_series(tmp_path / "exam", scan())
    for made in (read(tmp_path / "exam"), read(zipped(tmp_path / "exam", tmp_path / "exam.zip"))):
        assert len(made.dicom_files) == 7
        for k, file in enumerate(made.dicom_files):
            one = sitk.ReadImage(str(file))
            assert np.array_equal(values(one)[0], values(made.image)[k])
            assert np.allclose(one.GetOrigin(), made.image.TransformIndexToPhysicalPoint((0, 0, k)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["nii.gz", "compressed mha", "compressed nrrd"])
def test_every_kind_of_number_is_read_as_itk_reads_it(kind, dtype, tmp_path, read):
    pixel = sitk.GetImageFromArray(np.zeros((1, 1, 1), dtype)).GetPixelID()
    path = WRITERS[kind](sitk.Cast(scan() / 7, pixel), tmp_path)
    made, expected = read(path).image, sitk.ReadImage(str(path))
    assert made.GetPixelID() == expected.GetPixelID()
    assert np.array_equal(values(made), values(expected))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, -3), (0, 0), (float("nan"), 0)])
@pytest.mark.parametrize("packed", [False, True])
def test_scaled_and_byte_swapped_nifti_is_read_as_itk_reads_it(
    order, slope, intercept, packed, tmp_path, read
):
    image = scan()
    array = values(image).T.astype(f"{order}i2")
    path = write_nifti(tmp_path / "a.nii", array, lps_to_ras(image), scl_slope=slope, scl_inter=intercept)
    if order == ">":
        swap_header(path)
    if packed:
        path = Path(shutil.copy(path, tmp_path / "b.nii"))
        path.with_suffix(".nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(".nii.gz")
    made, expected = read(path).image, sitk.ReadImage(str(path))
    assert np.array_equal(values(made), values(expected))
    factor = slope if slope and np.isfinite(slope) else 1
    assert np.allclose(values(made), values(image) * factor + intercept)
    assert grids_differ_by_mm(Grid.of(made), Grid.of(image)) < 1e-3


def swap_header(path: Path) -> None:
    content = path.read_bytes()
    header = nib.Nifti1Header(content[:348]).as_byteswapped(">")
    path.write_bytes(header.binaryblock + content[348:])


def test_rescaling_of_dicom_is_itks(tmp_path, read):
    write_series(tmp_path / "exam", scan(), RescaleSlope=2.5, RescaleIntercept=-7)
    assert np.allclose(values(read(tmp_path / "exam").image), values(scan()) * 2.5 - 7)


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_is_left_or_changed_but_the_slices_of_a_zip(kind, tmp_path):
    path = WRITERS[kind](scan(), tmp_path / "exam")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "exam").rglob("*")}
    (source,) = find_scans(path)
    made = read_scan(source, scratch)
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "exam").rglob("*")}
    assert {file for file in scratch.rglob("*") if file.is_file()} == (
        set(made.dicom_files) if kind == "zip" else set()
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_is_printed(kind, tmp_path, read, capfd):
    read(WRITERS[kind](scan(), tmp_path / "exam"))
    assert capfd.readouterr() == ("", "")


def _lengths(size: int) -> list[int]:
    return sorted({0, 1, 100, 340, 350, size // 3, size // 2, size - 9, size - 2, size - 1})


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if not kind.endswith(("mhd", "nhdr"))])
def test_every_truncation_is_refused(kind, tmp_path, refused, capfd):
    path = WRITERS[kind](scan(), tmp_path / "exam")
    # Of the series that is read: nobody asks for the voxels of others.
    damaged = min(file for file in path.rglob("IM*")) if kind.endswith("DICOM") and path.is_dir() else path
    content = damaged.read_bytes()
    dicom = kind.endswith("DICOM")
    for length in _lengths(len(content)):
        if dicom and length < 350:
            continue  # nothing tells any more that it was DICOM
        damaged.write_bytes(content[:length])
        said = refused(path)
        assert any(word in said for word in ("truncated", "damaged")), said
    if "mha" in kind:
        assert capfd.readouterr().err == "", "MetaIO must not be the one to find out"


@pytest.mark.parametrize("kind", ["mhd", "compressed mhd", "nhdr", "compressed nhdr"])
def test_data_beside_a_header_that_is_short_or_missing_is_refused(kind, tmp_path, refused):
    path = WRITERS[kind](scan(), tmp_path)
    (data,) = [file for file in tmp_path.iterdir() if file != path]
    content = data.read_bytes()
    for length in _lengths(len(content)):
        data.write_bytes(content[:length])
        assert "truncated or damaged" in refused(path)
    data.unlink()
    assert f"its data file {data.name} is missing" in refused(path)


@pytest.mark.parametrize("kind", ["nii.gz", "compressed mha", "compressed nrrd"])
def test_flipped_bits_of_compressed_voxels_are_refused(kind, tmp_path, refused):
    path = WRITERS[kind](scan(), tmp_path)
    content = bytearray(path.read_bytes())
    for place in np.linspace(len(content) // 2, len(content) - 1, 8).astype(int):
        flipped = content.copy()
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        assert "damaged" in refused(path)


def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    with pytest.raises(UserError, match=r"a\.nii\.gz: no such file, or a broken link"):
        read_scan(ScanSource("a", tmp_path / "a.nii.gz", "file"), tmp_path)


def test_a_lost_folder_for_temporary_files_is_told(tmp_path):
    source = ScanSource("a", write_zip(scan(), tmp_path), "dicom_zip")
    with pytest.raises(UserError, match=r"exam\.ZIP: cannot be read \(No such file or directory\).*gone"):
        read_scan(source, tmp_path / "gone")


def test_scans_are_read_side_by_side(tmp_path):
    """Nothing of the process is borrowed while a scan is read, neither stderr nor a file's name."""
    sources = []
    for seed in range(4):
        kind = list(WRITERS)[2 * seed + 1]
        sources += find_scans(WRITERS[kind](scan(seed=seed), tmp_path / str(seed)))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda k: read_scan(sources[k % 4], scratch), range(40)))
    assert all(np.array_equal(values(one.image), values(scan(seed=k % 4))) for k, one in enumerate(made))


def test_a_scan_says_where_it_came_from(tmp_path, read):
    made: Scan = read(write(scan(), tmp_path / "patient.mha"))
    assert made.source == ScanSource("patient", tmp_path / "patient.mha", "file")


LATIN_1 = os.fsdecode(b"Bj\xf6rn")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("ending", [".mha", ".nii", ".nrrd", ".nii.gz"])
def test_names_that_are_no_utf8_are_refused_where_itk_would_end_the_process(ending, tmp_path, read):
    path = write(scan(), tmp_path / f"scan{ending}").rename(tmp_path / f"{LATIN_1}{ending}")
    if ".nii" in ending:  # ITK does not read these
        assert read(path).source.name == "Bj\ufffdrn"
        return
    with pytest.raises(UserError, match=r"Bj\\udcf6rn\S* .*not UTF-8: rename it"):
        read(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_exams_with_names_that_are_no_utf8_are_refused(tmp_path, read):
    write_series(tmp_path / "exam", scan())
    zipped(tmp_path / "exam", tmp_path / f"{LATIN_1}.zip")
    first = min(path for path in (tmp_path / "exam").rglob("*") if path.is_file())
    first.rename(first.with_name(f"{LATIN_1}.dcm"))
    with pytest.raises(UserError, match="not UTF-8"):
        read(tmp_path / "exam")
    assert read(tmp_path / f"{LATIN_1}.zip").image.GetSize() == scan().GetSize()
