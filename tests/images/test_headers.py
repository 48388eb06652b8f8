"""Headers of MetaImage and NRRD that are none of a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.reading import check_file

from ..helpers.scan_files import ORIGIN, SAGITTAL, SPACING, scan, values, write, write_metaimage, write_nrrd

VOXELS = values(scan()).T.astype("<i2")
STEPS = SAGITTAL * SPACING


def metaimage(path: Path, **fields) -> Path:
    return write_metaimage(path, VOXELS, STEPS, ORIGIN, **fields)


def nrrd(path: Path, **fields) -> Path:
    return write_nrrd(path, VOXELS, STEPS, ORIGIN, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        *(({"ElementSpacing": f"{size} 1.8 4.4"}, f"is {size} mm") for size in ("0", "-1.7", "nan")),
        ({"ElementSpacing": "1,7 1.8 4.4"}, "is not a number"),
        *(({"ElementSpacing": sizes}, "voxel sizes are unknown") for sizes in (None, "")),
        ({"TransformMatrix": "0 0 0 0 0 -1 -1 0 0"}, "orientation matrix is invalid"),
        ({"TransformMatrix": None}, "has no TransformMatrix, so left and right cannot be determined"),
    ],
)
def test_headers_of_metaimage(fields, said, tmp_path, refused):
    assert said in refused(metaimage(tmp_path / "a.mha", **fields))


@pytest.mark.parametrize(
    ("ending", "old", "new", "said"),
    [
        ("mha", "ElementDataFile = LOCAL", "", "is not a MetaImage file"),
        ("mha", "ElementDataFile = LOCAL", "ElementDataFile = gone.raw", "its data file gone.raw is missing"),
        ("nrrd", "NRRD0004", "MRRD0004", "is not an NRRD file"),
        ("nrrd", "(0.0,1.7,0.0)", "(0,0,0)", "a voxel size in its header is 0"),
        ("nrrd", "(0.0,1.7,0.0)", "(nan,nan,nan)", "orientation matrix is invalid"),
        ("nrrd", "(0.0,1.7,0.0)", "(0,0,-1.7)", "orientation matrix is invalid"),
    ],
)
def test_damaged_headers(ending, old, new, said, tmp_path, refused):
    path = (metaimage if ending == "mha" else nrrd)(tmp_path / f"a.{ending}")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()))
    assert said in refused(path)


@pytest.mark.parametrize("fields", [{}, {"ElementSpacing": "2.0 1.8 4.0"}])
def test_element_size_stands_in_for_element_spacing(fields, tmp_path, read):
    sizes = {"ElementSize": "9 9 9"} if fields else {"ElementSize": "2 1.8 4", "ElementSpacing": None}
    made = read(metaimage(tmp_path / "a.mha", **fields, **sizes))
    assert made.image.GetSpacing() == (2.0, 1.8, 4.0)


@pytest.mark.parametrize("kinds", ["domain domain domain time", "time domain domain domain"])
@pytest.mark.parametrize("packed", [False, True])
def test_nrrd_of_several_times_is_told_as_4d(kinds, packed, tmp_path, refused):
    path = write(sitk.JoinSeries([scan(), scan(seed=1)]), tmp_path / "a.nrrd", compressed=packed)
    header, _, voxels = path.read_bytes().partition(b"\n\n")
    lines = [line for line in header.split(b"\n") if not line.startswith((b"kinds", b"space directions"))]
    directions = "none (1.7,0,0) (0,1.8,0) (0,0,4.4)"
    if not kinds.startswith("time"):
        directions = "(1.7,0,0) (0,1.8,0) (0,0,4.4) none"
    lines += [f"kinds: {kinds}".encode(), f"space directions: {directions}".encode()]
    path.write_bytes(b"\n".join(lines) + b"\n\n" + voxels)
    assert refused(path) == "has 4 dimensions (several volumes): give one volume as a file of its own"


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        *(("left-posterior-superior", (1, 1)), ("LPS", (1, 1))),
        *(("Right-Anterior-Superior", (-1, -1)), ("RAS", (-1, -1))),
        *(("left-anterior-superior", (1, -1)), ("LAS", (1, -1))),
    ],
)
def test_anatomical_spaces_of_nrrd_are_known(space, signs, tmp_path, read):
    made = read(nrrd(tmp_path / "scan.nrrd", space=space))
    assert np.allclose(np.reshape(made.image.GetDirection(), (3, 3)), np.diag([*signs, 1]) @ SAGITTAL)


@pytest.mark.parametrize(
    "fields",
    [
        *({"space": space} for space in ("scanner-xyz", "3D-right-handed", None)),
        *({"space_directions": directions} for directions in ("(4,0,0) none (0,0,1)", None)),
    ],
)
def test_nrrd_that_does_not_tell_left_from_right_is_refused(fields, tmp_path, refused):
    assert "left and right cannot be determined" in refused(nrrd(tmp_path / "scan.nrrd", **fields))


def of_size(path: Path, size: str, **fields) -> Path:
    """A compressed MetaImage with this CompressedDataSize: "none", or relative to the right one."""
    right = len(metaimage(path, packed=True).read_bytes().partition(b"LOCAL\n")[2])
    right = right or path.with_name("voxels.raw").stat().st_size
    sizes = {"zero": 0, "half": right // 2, "right": right, "more": right + 50}
    return metaimage(path, packed=True, CompressedDataSize=sizes.get(size), **fields)


@pytest.mark.parametrize("ending", [".mha", ".mhd"])
@pytest.mark.parametrize("size", ["none", "zero", "half", "right", "more"])
def test_a_wrong_size_of_compressed_data_changes_no_value(size, ending, tmp_path, read):
    made = read(of_size(tmp_path / f"scan{ending}", size)).image
    assert np.array_equal(values(made).T, VOXELS)
    assert np.allclose(made.GetOrigin(), ORIGIN)


@pytest.mark.parametrize("size", ["zero", "half"])
def test_files_that_metaio_reads_wrong_are_not_predicted(size, tmp_path):
    with pytest.raises(UserError, match="truncated or damaged"):
        check_file(of_size(tmp_path / "scan.mha", size))


def test_an_empty_field_of_metaimage_is_empty(tmp_path, read):
    path = of_size(tmp_path / "scan.mha", "right", Comment="", AnatomicalOrientation="")
    assert np.array_equal(values(read(path).image).T, VOXELS)


def test_a_header_size_that_is_no_number_is_refused(tmp_path, refused):
    assert "HeaderSize" in refused(metaimage(tmp_path / "scan.mhd", HeaderSize="x"))
