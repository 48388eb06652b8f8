"""When a scan counts as the same one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.images.finding import contents_of
from nnunetv2_spinesegdiff.images.scan import ScanSource


def source(path: Path, kind: Any = "file") -> ScanSource:
    return ScanSource(path.stem, path, kind)


@pytest.mark.parametrize(("ending", "field"), [(".mhd", "ElementDataFile = "), (".nhdr", "data file: ")])
def test_voxels_beside_a_header_count_whatever_they_are_called(ending, field, tmp_path):
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkInt16), str(path), useCompression=False)
    (raw,) = (file for file in tmp_path.iterdir() if file != path)
    voxels = raw.rename(tmp_path / "voxels.bin")
    path.write_text(path.read_text().replace(field + raw.name, field + voxels.name))
    (tmp_path / "scan.txt").write_text("notes")
    before = contents_of(source(path))
    assert before == [
        [file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in sorted((path, voxels))
    ]
    voxels.write_bytes(bytes([1]) * voxels.stat().st_size)
    assert contents_of(source(path)) != before


def test_voxels_in_several_files_count(tmp_path):
    path = tmp_path / "scan.mhd"
    path.write_text("NDims = 3\nElementDataFile = LIST\na.raw\n")
    (tmp_path / "a.raw").write_bytes(b"1")
    assert [name for name, _ in contents_of(source(path))] == ["a.raw", "scan.mhd"]


def test_an_exam_is_all_that_is_not_hidden_behind_links_too(tmp_path):
    for name in ("exam/1", "exam/.hidden", "elsewhere/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "exam" / "more").symlink_to(tmp_path / "elsewhere")
    found = contents_of(source(tmp_path / "exam", "dicom"))
    assert [name for name, _ in found] == ["1", "more/2"]


def test_what_cannot_be_read_is_no_error(tmp_path):
    (tmp_path / "empty.mhd").write_text("")
    assert contents_of(source(tmp_path / "gone.nii"))[0][1] == "No such file or directory"
    assert [name for name, _ in contents_of(source(tmp_path / "empty.mhd"))] == ["empty.mhd"]
