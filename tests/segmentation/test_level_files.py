"""Names, colors and codes of levels, read back with the libraries that other programs use."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.sr.codedict import codes

from nnunetv2_spinesegdiff.files import save_json
from nnunetv2_spinesegdiff.images.writing import write_image
from nnunetv2_spinesegdiff.segmentation.level_files import (
    level_segments,
    names_as_json,
    slicer_color_table,
    slicer_segmentation,
)
from nnunetv2_spinesegdiff.segmentation.measuring.levels import number_levels

from ..helpers.drawn_spine import MM, DrawnSpine


@pytest.fixture(scope="module")
def levels():
    return number_levels(DrawnSpine(discs=(8.0,) * 6).mask()[None], MM)


@pytest.fixture(scope="module")
def image(levels) -> sitk.Image:
    image = sitk.GetImageFromArray(levels.numbers)
    image.SetSpacing((1.0, 1.5, 4.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    return image


def test_levels_have_the_codes_of_dicom(levels):
    code_of = {segment.name: segment.code for segment in level_segments(levels.names)}
    assert code_of["L5"][:2] == (codes.CID7603.L5Vertebra.value, "SCT")
    assert code_of["T12"][:2] == (codes.CID7603.T12Vertebra.value, "SCT")
    assert code_of["L5-S1"][:2] == (codes.CID7604.L5S1Disc.value, "SCT")
    assert code_of["T12-L1"][:2] == (codes.CID7604.T12L1Disc.value, "SCT")
    assert code_of["spinal canal"][2] == "Vertebral canal"
    assert len(set(code_of.values())) == len(code_of)


def test_levels_without_a_code_of_their_own_have_that_of_any_vertebra_or_disc():
    (l6, sacral, disc) = level_segments({1: "L6", 25: "S1", 201: "L6-S1"})
    assert l6.code == sacral.code == ("51282000", "SCT", "Vertebra")
    assert disc.code[2] == "Intervertebral disc"


def test_neighboring_levels_have_different_colors(levels):
    segments = level_segments(levels.names)
    assert len({segment.color for segment in segments}) == len(segments)
    partly, whole = level_segments({5: "L1", 105: "L1"})
    assert partly.color == whole.color


def test_names_are_read_back_from_json(tmp_path, levels):
    save_json(names_as_json(levels.names), tmp_path / "names.json")
    read = json.loads((tmp_path / "names.json").read_text())
    assert {int(number): entry["name"] for number, entry in read.items()} == levels.names


def test_the_color_table_has_one_line_per_level(levels):
    lines = [line.split() for line in slicer_color_table(levels.names).splitlines() if line[0] != "#"]
    assert all(len(line) == 6 for line in lines)
    assert {int(line[0]): line[1].replace("_", " ") for line in lines[1:]} == levels.names
    assert all(0 <= int(part) <= 255 for line in lines for part in line[2:])


def test_a_seg_nrrd_is_read_by_pynrrd(tmp_path, levels, image):
    nrrd = pytest.importorskip("nrrd")
    path = tmp_path / "scan_levels.seg.nrrd"
    write_image(slicer_segmentation(image, levels.names), path)
    array, header = nrrd.read(str(path))
    assert np.array_equal(array.T, levels.numbers)
    assert header["space"] == "left-posterior-superior"
    assert np.allclose(header["space origin"], image.GetOrigin())
    columns = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    assert np.allclose(header["space directions"], columns.T)
    for place, segment in enumerate(level_segments(levels.names)):
        assert header[f"Segment{place}_Name"] == segment.name
        assert int(header[f"Segment{place}_LabelValue"]) == segment.number
        assert np.allclose(
            np.array(header[f"Segment{place}_Color"].split(), float) * 255, segment.color, atol=1e-3
        )


def test_a_seg_nrrd_is_read_by_slicerio(tmp_path, levels, image):
    slicerio = pytest.importorskip("slicerio")
    path = tmp_path / "scan_levels.seg.nrrd"
    write_image(slicer_segmentation(image, levels.names), path)
    read = slicerio.read_segmentation(str(path))
    found = {segment["labelValue"]: segment for segment in read["segments"]}
    for segment in level_segments(levels.names):
        entry = found.pop(segment.number)
        assert entry["name"] == segment.name
        value, scheme, meaning = segment.code
        assert entry["terminology"]["type"] == [scheme, value, meaning]
        low, high = entry["extent"][::2], entry["extent"][1::2]
        inside = np.argwhere(levels.numbers == segment.number)[:, ::-1]
        assert np.array_equal(low, inside.min(axis=0))
        assert np.array_equal(high, inside.max(axis=0))
    assert not found


def test_a_level_without_a_voxel_is_an_empty_segment(image, levels):
    written = slicer_segmentation(image, {**levels.names, 225: "S1-S2"})
    place = len(levels.names)
    assert written.GetMetaData(f"Segment{place}_Name") == "S1-S2"
    assert written.GetMetaData(f"Segment{place}_Extent") == "0 -1 0 -1 0 -1"
