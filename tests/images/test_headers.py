"""Headers of MetaImage and NRRD that are none of a scan."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.reading import check_file

from .made_up import scan, values, write


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ElementSpacing = 1.7 ", "ElementSpacing = 0 ", "a voxel size in its header is 0 mm"),
        ("ElementSpacing = 1.7 ", "ElementSpacing = -1.7 ", "a voxel size in its header is -1.7 mm"),
        ("ElementSpacing = 1.7 ", "ElementSpacing = nan ", "a voxel size in its header is nan mm"),
        (
            "TransformMatrix = 0 1 0 0",
            "TransformMatrix = 0 0 0 0",
            "orientation matrix is invalid",
        ),
        (
            "TransformMatrix = 0 1 0 0 0 -1 -1 0 0\n",
            "",
            "has no TransformMatrix, so left and right cannot be determined",
        ),
        ("ElementDataFile = LOCAL", "", "is not a MetaImage file"),
        ("ElementDataFile = LOCAL", "ElementDataFile = gone.raw", "its data file gone.raw is missing"),
    ],
)
def test_headers_of_metaimage(old, new, said, tmp_path, refused):
    path = write(scan(), tmp_path / "a.mha")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()))
    assert said in refused(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(0,1.7,0)", "(0,0,0)", "a voxel size in its header is 0"),
        ("(0,1.7,0)", "(nan,nan,nan)", "orientation matrix is invalid"),
        ("(0,1.7,0)", "(0,0,-1.7)", "orientation matrix is invalid"),
        (
            "space: left-posterior-superior\n",
            "",
            "has no anatomical space or no space directions",
        ),
        ("NRRD0004", "MRRD0004", "is not an NRRD file"),
    ],
)
def test_headers_of_nrrd(old, new, said, tmp_path, refused):
    path = write(scan(), tmp_path / "a.nrrd")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()))
    assert said in refused(path)


def nrrd(path: Path, space: str, directions: str = "(4,0,0) (0,1,0) (0,0,1)") -> Path:
    values = np.random.default_rng(0).integers(1, 1000, (200, 200, 12)).astype("<i2")
    fields = {
        "type": "short",
        "dimension": "3",
        "space": space,
        "sizes": "12 200 200",
        "space directions": directions,
        "endian": "little",
        "encoding": "raw",
    }
    lines = ["NRRD0004", *(f"{key}: {value}" for key, value in fields.items() if value), "", ""]
    path.write_bytes("\n".join(lines).encode() + values.tobytes())
    return path


@pytest.mark.parametrize("kinds", ["domain domain domain time", "time domain domain domain"])
@pytest.mark.parametrize("packed", [False, True])
def test_nrrd_of_several_times_is_told_as_4d(kinds, packed, tmp_path, refused):
    first = kinds.startswith("time")
    image = sitk.JoinSeries([scan(), scan(seed=1)])
    path = write(image, tmp_path / "a.nrrd", compressed=packed)
    content = path.read_bytes()
    header, _, voxels = content.partition(b"\n\n")
    lines = [line for line in header.split(b"\n") if not line.startswith((b"kinds", b"space directions"))]
    directions = "none (1.7,0,0) (0,1.8,0) (0,0,4.4)" if first else "(1.7,0,0) (0,1.8,0) (0,0,4.4) none"
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
    direction = np.reshape(read(nrrd(tmp_path / "scan.nrrd", space)).image.GetDirection(), (3, 3))
    assert np.array_equal(direction, np.diag([*signs, 1]))


@pytest.mark.parametrize(
    ("space", "directions"),
    [
        *(("scanner-xyz", "(4,0,0) (0,1,0) (0,0,1)"), ("3D-right-handed", "(4,0,0) (0,1,0) (0,0,1)")),
        *(("", "(4,0,0) (0,1,0) (0,0,1)"), ("RAS", "(4,0,0) none (0,0,1)"), ("RAS", "")),
    ],
)
def test_nrrd_that_does_not_tell_left_from_right_is_refused(space, directions, tmp_path, refused):
    assert "left and right cannot be determined" in refused(nrrd(tmp_path / "scan.nrrd", space, directions))


def packed_metaimage(folder: Path, image: sitk.Image, size: str, apart: bool, *lines: str) -> Path:
    """A compressed MetaImage with the given CompressedDataSize: "", "none", or relative to the right one."""
    packed = zlib.compress(values(image).astype("<i2").tobytes())
    numbers = {"zero": 0, "half": len(packed) // 2, "right": len(packed), "more": len(packed) + 50}
    path = folder / ("scan.mhd" if apart else "scan.mha")
    header = [
        *("ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"),
        *lines,
        "CompressedData = True",
        *([] if size == "none" else [f"CompressedDataSize = {numbers[size]}"]),
        "TransformMatrix = " + " ".join(str(c) for c in np.reshape(image.GetDirection(), (3, 3)).T.ravel()),
        "Offset = " + " ".join(map(str, image.GetOrigin())),
        "ElementSpacing = " + " ".join(map(str, image.GetSpacing())),
        "DimSize = " + " ".join(map(str, image.GetSize())),
        "ElementType = MET_SHORT",
        f"ElementDataFile = {'scan.zraw' if apart else 'LOCAL'}",
    ]
    (folder / "scan.zraw").write_bytes(packed)
    path.write_bytes("\n".join([*header, ""]).encode() + (b"" if apart else packed))
    return path


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("size", ["none", "zero", "half", "right", "more"])
def test_a_wrong_size_of_compressed_data_changes_no_value(size, apart, tmp_path, read):
    image = sitk.Cast(scan(), sitk.sitkInt16)
    made = read(packed_metaimage(tmp_path, image, size, apart)).image
    assert np.array_equal(values(made), values(image))
    assert np.allclose(made.GetOrigin(), image.GetOrigin())


@pytest.mark.parametrize("size", ["zero", "half"])
def test_files_that_metaio_reads_wrong_are_not_predicted(size, tmp_path):
    with pytest.raises(UserError, match="truncated or damaged"):
        check_file(packed_metaimage(tmp_path, sitk.Cast(scan(), sitk.sitkInt16), size, False))


def test_an_empty_field_of_metaimage_is_empty(tmp_path, read):
    image = sitk.Cast(scan(), sitk.sitkInt16)
    path = packed_metaimage(tmp_path, image, "right", False, "Comment = ", "AnatomicalOrientation =")
    assert np.array_equal(values(read(path).image), values(image))


def test_a_header_size_that_is_no_number_is_refused(tmp_path, refused):
    image = sitk.Cast(scan(), sitk.sitkInt16)
    assert "HeaderSize" in refused(packed_metaimage(tmp_path, image, "right", True, "HeaderSize = x"))
