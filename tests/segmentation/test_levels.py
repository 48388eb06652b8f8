"""Levels of vertebrae and discs in the results of `segment`: files, tables and names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from nnunetv2_spinesegdiff import SpineSegmenter
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.images.reading import scan_of
from nnunetv2_spinesegdiff.labels import CLASSES, IVD, SPIDER_CANAL, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation import api
from nnunetv2_spinesegdiff.segmentation.level_files import with_unnumbered
from nnunetv2_spinesegdiff.segmentation.segment import segment_scan
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings

from ..helpers.model_cohort import run
from ..helpers.model_spine import reading_model, spine, spine_labels, write
from ..helpers.scan_files import COMPLETE, write_series

pytestmark = pytest.mark.usefixtures("quick_pictures")

VERTEBRAE_UPWARD = ["L5", "L4", "L3", "L2", "L1"]
DISCS_UPWARD = ["L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2"]
NAMES = {
    **dict(enumerate(VERTEBRAE_UPWARD, start=1)),
    SPIDER_CANAL: "spinal canal",
    **dict(enumerate(DISCS_UPWARD, start=201)),
}


def array_of(path: Path) -> Any:
    image: Any = nib.load(path)
    return np.asarray(image.dataobj), image


@pytest.mark.parametrize("slices", ["middle", "all"])
def test_every_voxel_of_the_mask_has_the_number_of_its_level(slices, tmp_path, stand_in_model):
    write(spine(), tmp_path / "scan.nii.gz")
    run(tmp_path / "scan.nii.gz", tmp_path / "out", settings=SegmentationSettings(slices=slices))
    numbers, image = array_of(tmp_path / "out" / "scan_levels.nii.gz")
    mask, of_mask = array_of(tmp_path / "out" / "scan_seg.nii.gz")
    assert np.array_equal(image.affine, of_mask.affine)
    assert numbers.dtype == np.uint8
    expected = np.select(
        [(numbers > 0) & (numbers < SPIDER_CANAL), numbers > 200, numbers == SPIDER_CANAL],
        [VERTEBRAE, IVD, CLASSES["spinal_canal"]],
    )
    assert np.array_equal(expected, mask)
    assert len(np.unique(np.nonzero(numbers)[2])) == (5 if slices == "all" else 1)
    heights = {
        number: (image.affine[:3] @ np.append(np.argwhere(numbers == number).mean(axis=0), 1))[2]
        for number in NAMES
    }
    assert sorted(range(1, 6), key=heights.__getitem__) == list(range(1, 6))
    assert sorted(range(201, 206), key=heights.__getitem__) == list(range(201, 206))
    assert heights[201] < heights[1] < heights[202]


def test_the_output_folder_can_be_evaluated_one_by_one(tmp_path, stand_in_model):
    numbers = np.where(spine_labels() == CLASSES["spinal_canal"], SPIDER_CANAL, 0)
    for level, top in enumerate(range(15, 180, 33)):
        block = spine_labels()[:, top : top + 32]
        part = numbers[:, top : top + 32]
        part[block == VERTEBRAE], part[block == IVD] = 5 - level, 205 - level
    truth = sitk.GetImageFromArray(numbers.astype(np.uint8))
    truth.CopyInformation(spine())
    write(spine(), tmp_path / "scans" / "7_t2.nii.gz")
    write(truth, tmp_path / "truth" / "7_t2.mha")
    run(tmp_path / "scans", tmp_path / "out", settings=SegmentationSettings(slices="all"))
    words = ["evaluate", "--instances", str(tmp_path / "truth"), "-s", f"A={tmp_path / 'out'}"]
    assert main([*words, "-o", str(tmp_path / "evaluation")]) == 0
    rows = pd.read_csv(tmp_path / "evaluation" / "instances.csv")
    assert set(rows["number"]) == set(NAMES) - {SPIDER_CANAL}
    assert rows["number_right"].all()
    assert rows["level_name"].tolist() == [NAMES[number] for number in rows["number"]]
    assert (rows["dice"] == 1).all()


def test_all_files_state_the_same_names(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans / "scan1.mha", out)
    (extension,) = array_of(out / "scan1_levels.nii.gz")[1].header.extensions
    assert {int(n): name for n, name in json.loads(extension.text).items()} == NAMES
    stated = json.loads((out / "level_names.json").read_text())
    assert {int(number): entry["name"] for number, entry in stated.items()} == NAMES
    lines = [line.split() for line in (out / "level_colors.ctbl").read_text().splitlines()[2:]]
    assert {int(line[0]): line[1].replace("_", " ") for line in lines} == NAMES
    nrrd = pytest.importorskip("nrrd")
    array, header = nrrd.read(str(out / "scan1_levels.seg.nrrd"))
    assert np.array_equal(array, array_of(out / "scan1_levels.nii.gz")[0])
    segments = range(len(NAMES))
    assert {int(header[f"Segment{k}_LabelValue"]): header[f"Segment{k}_Name"] for k in segments} == NAMES
    levels = json.loads((out / "run.json").read_text())["scans"]["scan1"]["levels"]
    assert levels["confidence"] == "moderate"
    assert "taken for L5-S1" in levels["basis"]


def test_rows_of_measurements_have_levels(scans, tmp_path, stand_in_model):
    run(scans / "scan1.mha", tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / "measurements.csv")
    totals = rows["number"].isna()
    assert rows.loc[totals, ["level", "level_confidence", "level_basis"]].isna().all(axis=None)
    parts = rows[~totals]
    assert parts.loc[parts["structure"] == "vertebrae", "level"].tolist() == VERTEBRAE_UPWARD
    assert parts.loc[parts["structure"] == "ivd", "level"].tolist() == DISCS_UPWARD
    assert set(parts["level_confidence"]) == {"moderate"}
    assert parts["level_basis"].str.contains("counted from the lowest disc").all()


def test_a_given_lowest_disc_shifts_all_names_and_makes_scans_again(scans, tmp_path, stand_in_model):
    out, given = tmp_path / "out", replace(SegmentationSettings(), lowest_disc="L4-L5")
    run(scans / "scan0.nii.gz", out)
    mask = (out / "scan0_seg.nii.gz").read_bytes()
    assert run(scans / "scan0.nii.gz", out, settings=given).segmented == ["scan0"]
    assert (out / "scan0_seg.nii.gz").read_bytes() == mask
    assert run(scans / "scan0.nii.gz", out, settings=given).kept == ["scan0"]
    told = json.loads((out / "run.json").read_text())
    assert told["settings"]["lowest_disc"] == "L4-L5"
    assert told["scans"]["scan0"]["levels"]["confidence"] == "given"
    rows = pd.read_csv(out / "measurements.csv")
    discs = rows[(rows["structure"] == "ivd") & rows["number"].notna()]
    assert discs["level"].tolist() == ["L4-L5", "L3-L4", "L2-L3", "L1-L2", "T12-L1"]
    assert discs["number"].tolist() == [1, 2, 3, 4, 5]
    assert sorted(np.unique(array_of(out / "scan0_levels.nii.gz")[0])) == [
        0,
        *range(2, 7),
        100,
        *range(202, 207),
    ]


def test_names_that_differ_between_scans_are_all_stated(scans, tmp_path, stand_in_model):
    out = tmp_path / "out"
    run(scans / "scan1.mha", out)
    run(scans / "scan0.nii.gz", out, settings=replace(SegmentationSettings(), lowest_disc="L6-S1"))
    stated = json.loads((out / "level_names.json").read_text())
    assert stated["1"]["name"] == "L5/L6"
    assert stated["201"]["name"] == "L5-S1/L6-S1"
    extension = array_of(out / "scan0_levels.nii.gz")[1].header.extensions[0]
    assert json.loads(extension.text)["1"] == "L6"


def test_python_has_levels_and_takes_the_lowest_disc(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "open_model", lambda path, scratch, **choice: SimpleNamespace())
    monkeypatch.setattr(api, "SliceModel", lambda opened, settings, device: reading_model())
    for lowest, names in ((None, NAMES), ("L6-S1", {1: "L6", 2: "L5", 201: "L6-S1", 202: "L5-L6"})):
        with SpineSegmenter("model.zip", lowest_disc=lowest) as segmenter:
            result = segmenter.segment(spine())
        assert result.levels.names.items() >= names.items()
        numbers = sitk.GetArrayFromImage(result.levels.image)
        assert np.array_equal(numbers > 0, sitk.GetArrayFromImage(result.mask) > 0)
        assert set(np.unique(numbers)) == {0, *result.levels.names}
        assert result.table["level"].dropna().isin(list(result.levels.names.values())).all()


@pytest.mark.parametrize(("rows", "padding"), [(220, 0), (182, 0), (178, 0), (178, 30), (160, 0)])
def test_a_spine_that_goes_on_below_the_image_is_warned_of_once(rows, padding):
    """The lowest disc ends in row 178."""
    values = sitk.GetArrayFromImage(spine())
    values[:, rows:] = 0
    image = sitk.GetImageFromArray(values[:, : rows + padding])
    image.SetSpacing(spine().GetSpacing())
    image.SetDirection(spine().GetDirection())
    warnings = segment_scan(scan_of(image), "middle", reading_model()).warnings
    at_edge = [line for line in warnings if "touches the lower edge" in line]
    assert len(at_edge) == (rows < 180)
    assert len([line for line in warnings if "lowest" in line]) == len(at_edge)


def test_dicom_segmentations_have_a_segment_per_level(tmp_path, monkeypatch):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is an extra: pip install highdicom")
    monkeypatch.setattr(api, "open_model", lambda path, scratch, **choice: SimpleNamespace())
    monkeypatch.setattr(api, "SliceModel", lambda opened, settings, device: reading_model())
    write_series(tmp_path / "exam", spine(), **COMPLETE)
    with SpineSegmenter("model.zip") as segmenter:
        result = segmenter.segment(tmp_path / "exam")
        result.save(tmp_path / "out", dicom_seg=True)
    seg = highdicom.seg.segread(tmp_path / "out" / "exam_seg.dcm")
    found = {segment.SegmentLabel: segment.SegmentNumber for segment in seg.SegmentSequence}
    assert list(found) == list(NAMES.values())
    numbers, image = array_of(tmp_path / "out" / "exam_levels.nii.gz")
    for number, name in NAMES.items():
        volume = seg.get_volume(segment_numbers=[found[name]])
        center = volume.affine[:3] @ np.append(np.argwhere(volume.array[..., 0]).mean(axis=0), 1)
        expected = image.affine[:3] @ np.append(np.argwhere(numbers == number).mean(axis=0), 1)
        np.testing.assert_allclose(center, expected * [-1, -1, 1], atol=0.1)


def test_rt_structure_sets_have_a_region_per_level(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "open_model", lambda path, scratch, **choice: SimpleNamespace())
    monkeypatch.setattr(api, "SliceModel", lambda opened, settings, device: reading_model())
    write_series(tmp_path / "exam", spine(), **COMPLETE)
    with SpineSegmenter("model.zip") as segmenter:
        saved = segmenter.segment(tmp_path / "exam").save(tmp_path / "out", rtstruct=True)
    assert saved[-1].name == "exam_seg.rtstruct.dcm"
    made = dcmread(saved[-1])
    assert [roi.ROIName for roi in made.StructureSetROISequence] == list(NAMES.values())
    numbers, image = array_of(tmp_path / "out" / "exam_levels.nii.gz")
    for number, roi in zip(NAMES, made.ROIContourSequence, strict=True):
        points = np.concatenate([np.reshape(one.ContourData, (-1, 3)) for one in roi.ContourSequence])
        voxels = nib.affines.apply_affine(image.affine, np.argwhere(numbers == number)) * [-1, -1, 1]
        for end in (np.min, np.max):  # half a pixel from the centers of the outermost ones
            apart = np.abs(end(points.astype(float), axis=0) - end(voxels, axis=0))
            np.testing.assert_allclose(
                sorted(apart), [0, *sorted(np.array(image.header.get_zooms()[:2]) / 2)], atol=1e-3
            )


def test_structures_without_any_number_are_whole_segments():
    labels = spine_labels()
    numbers = np.where(labels == IVD, 203, 0).astype(np.uint8)
    images = [sitk.GetImageFromArray(array) for array in (numbers, labels)]
    image, segments = with_unnumbered(images[0], {203: "L3-L4"}, images[1])
    (disc, bodies) = segments
    assert (disc.number, disc.name) == (203, "L3-L4")
    array = sitk.GetArrayFromImage(image)
    assert np.array_equal(array == bodies.number, labels == VERTEBRAE)
    assert np.array_equal(array == disc.number, labels == IVD)
    assert np.array_equal(sitk.GetArrayFromImage(images[0]), numbers), "the given image is unchanged"
