"""The same scan comes out of every kind of file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.finding import find_scans
from nnunetv2_spinesegdiff.images.grid import Grid, grids_differ_by_mm
from nnunetv2_spinesegdiff.images.reading import read_scan
from nnunetv2_spinesegdiff.images.scan import ScanSource

from ..helpers.scan_files import SAGITTAL, scan, values, write, write_enhanced, write_series, zipped
from ..helpers.spider_series import rotation


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


def writer(name: str, compressed: bool = False) -> Callable[[sitk.Image, Path], Path]:
    return lambda image, path: write(image, path / name, compressed)


WRITERS: dict[str, Callable[[sitk.Image, Path], Path]] = {
    **{kind: writer(f"a.{kind}") for kind in ("nii", "nii.gz", "mha", "mhd", "nrrd", "nhdr")},
    **{f"compressed {kind}": writer(f"a.{kind}", True) for kind in ("mha", "mhd", "nrrd", "nhdr")},
    "NII.GZ": write_upper_case,
    "DICOM": lambda image, path: write_series(path, image),
    "zip": write_zip,
    "nested DICOM": write_nested,
    "enhanced DICOM": lambda image, path: write_enhanced(path / "a", image),
}
ENDINGS = {"mhd": ".mha", "nhdr": ".nrrd", "DICOM": ".nii.gz", "zip": ".nii.gz"}
"""Of results in the scan's own format, if that is not one file."""


@pytest.mark.parametrize("kind", WRITERS)
def test_every_file_gives_the_same_voxels_at_the_same_place(kind, tmp_path, capfd):
    """And nothing is printed, and nothing is left or changed but the slices of a zip."""
    image = scan(rotation((4, -5, 6)) @ SAGITTAL)
    path = WRITERS[kind](image, tmp_path / "exam")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "exam").rglob("*")}
    (source,) = find_scans(path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made = read_scan(source, scratch)
    assert grids_differ_by_mm(Grid.of(made.image), Grid.of(image)) < 1e-3
    assert np.array_equal(values(made.image), values(image))
    assert made.image.GetPixelID() == image.GetPixelID()
    assert (made.source, made.warnings) == (source, ())
    format_of_file = kind.split()[-1]
    assert made.ending == ENDINGS.get(format_of_file, f".{format_of_file.lower()}")
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "exam").rglob("*")}
    assert {file for file in scratch.rglob("*") if file.is_file()} == (
        set(made.dicom_files) if kind == "zip" else set()
    )
    assert capfd.readouterr() == ("", "")


def test_the_files_of_a_series_are_in_the_order_of_its_slices(tmp_path, read):
    write_series(tmp_path / "exam", scan())
    for made in (read(tmp_path / "exam"), read(zipped(tmp_path / "exam", tmp_path / "exam.zip"))):
        assert len(made.dicom_files) == 7
        for k, file in enumerate(made.dicom_files):
            one = sitk.ReadImage(str(file))
            assert np.array_equal(values(one)[0], values(made.image)[k])
            assert np.allclose(one.GetOrigin(), made.image.TransformIndexToPhysicalPoint((0, 0, k)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["nii.gz", "compressed mha", "compressed nrrd", "nhdr"])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_files_are_read_as_itk_reads_them(kind, dtype, order, tmp_path, read):
    pixel = sitk.GetImageFromArray(np.zeros((1, 1, 1), dtype)).GetPixelID()
    image = sitk.PermuteAxes(scan(rotation((3, 2, -4)) @ SAGITTAL * [1, -1, -1]), order)
    path = WRITERS[kind](sitk.Cast(image / 7, pixel), tmp_path)
    made, expected = read(path).image, sitk.ReadImage(str(path))
    assert made.GetPixelID() == expected.GetPixelID()
    assert np.array_equal(values(made), values(expected))
    assert grids_differ_by_mm(Grid.of(made), Grid.of(expected)) < 1e-4


def test_rescaling_of_dicom_is_itks(tmp_path, read):
    made = read(write_series(tmp_path / "exam", scan(), RescaleSlope=2.5, RescaleIntercept=-7))
    assert np.allclose(values(made.image), values(scan()) * 2.5 - 7)


def _lengths(size: int) -> list[int]:
    return sorted({0, 1, 100, 340, 350, size // 3, size // 2, size - 9, size - 2, size - 1})


@pytest.mark.parametrize("kind", WRITERS)
def test_every_truncation_is_refused(kind, tmp_path, refused, capfd):
    path = WRITERS[kind](scan(), tmp_path / "exam")
    damaged, shortest = path, 0
    if kind.endswith("DICOM"):
        # Of the series that is read: others do not matter. What is shorter is no DICOM any more.
        damaged, shortest = min(path.rglob("IM*"), default=path), 350
    elif kind.endswith(("mhd", "nhdr")):
        (damaged,) = [file for file in path.parent.iterdir() if file != path]
    content = damaged.read_bytes()
    for length in _lengths(len(content)):
        if length >= shortest:
            damaged.write_bytes(content[:length])
            said = refused(path)
            assert any(word in said for word in ("truncated", "damaged")), said
    assert "mha" not in kind or capfd.readouterr().err == "", "MetaIO must not be the one to find out"
    if path.suffix in (".mhd", ".nhdr"):
        damaged.unlink()
        assert f"its data file {damaged.name} is missing" in refused(path)


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
    for seed, kind in enumerate(("nii.gz", "compressed mha", "mhd", "zip")):
        sources += find_scans(WRITERS[kind](scan(seed=seed), tmp_path / str(seed)))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda k: read_scan(sources[k % 4], tmp_path), range(40)))
    assert all(np.array_equal(values(one.image), values(scan(seed=k % 4))) for k, one in enumerate(made))


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
    first = min((tmp_path / "exam").iterdir())
    first.rename(first.with_name(f"{LATIN_1}.dcm"))
    with pytest.raises(UserError, match="not UTF-8"):
        read(tmp_path / "exam")
    assert read(tmp_path / f"{LATIN_1}.zip").image.GetSize() == scan().GetSize()
