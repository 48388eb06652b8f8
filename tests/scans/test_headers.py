"""Headers of MetaImage and NRRD that are none of a scan."""

from __future__ import annotations

import pytest

from .made_up import scan, write


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ElementSpacing = 1.7 ", "ElementSpacing = 0 ", "a voxel size in its header is 0 mm"),
        ("ElementSpacing = 1.7 ", "ElementSpacing = -1.7 ", "a voxel size in its header is -1.7 mm"),
        ("ElementSpacing = 1.7 ", "ElementSpacing = nan ", "a voxel size in its header is nan mm"),
        (
            "TransformMatrix = 0 1 0 0",
            "TransformMatrix = 0 0 0 0",
            "the directions of its axes are no directions",
        ),
        (
            "TransformMatrix = 0 1 0 0 0 -1 -1 0 0\n",
            "",
            "has no TransformMatrix, nothing tells left from right",
        ),
        ("ElementDataFile = LOCAL", "", "is no MetaImage file"),
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
        ("(0,1.7,0)", "(nan,nan,nan)", "the directions of its axes are no directions"),
        ("(0,1.7,0)", "(0,0,-1.7)", "the directions of its axes are no directions"),
        ("space: left-posterior-superior\n", "", "has no space, nothing tells left from right"),
        ("NRRD0004", "MRRD0004", "is no NRRD file"),
    ],
)
def test_headers_of_nrrd(old, new, said, tmp_path, refused):
    path = write(scan(), tmp_path / "a.nrrd")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()))
    assert said in refused(path)
