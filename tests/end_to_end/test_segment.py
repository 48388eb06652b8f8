"""`spinesegdiff segment` with the bundled model: one volume in every format and place, and bad scans."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice

from nnunetv2_spinesegdiff import Failure, Segmentation, SpineSegmenter, example_scans
from nnunetv2_spinesegdiff.cli import main

from ..helpers.scan_files import write_series, zipped

SAME = ("compressed", "dicom", "metaimage", "zipped")
MOVED = ("oblique", "turned")
BAD = {"axial": "axial", "constant": "all voxels", "four": "volumes", "nan": "NaN", "truncated": "damaged"}
FLAGS = ["-device", "cpu", "--slices", "middle", "--preset", "fast"]


@dataclass(frozen=True)
class Segmented:
    """A folder of scans, the results, and the output on the screen."""

    scans: Path
    out: Path
    said: str

    def mask(self, name: str) -> sitk.Image:
        return sitk.ReadImage(str(self.out / f"{name}_seg.nii.gz"))


@pytest.fixture(scope="module")
def volume() -> sitk.Image:
    """Five slices of a real scan, all the same one."""
    real = sitk.ReadImage(str(example_scans()[1]))
    axis = int(np.argmin(real.GetSize()))
    values = np.repeat(sitk.GetArrayFromImage(real), 5, axis=2 - axis)
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing(real.GetSpacing())
    image.SetOrigin(real.GetOrigin())
    image.SetDirection(real.GetDirection())
    return image


@pytest.fixture(scope="module")
def segmented(volume: sitk.Image, tmp_path_factory: pytest.TempPathFactory) -> Segmented:
    root = tmp_path_factory.mktemp("segment")
    scans, out = root / "scans", root / "out"
    scans.mkdir()
    sitk.WriteImage(volume, str(scans / "compressed.nii.gz"))
    sitk.WriteImage(volume, str(scans / "metaimage.mha"))
    write_series(scans / "dicom", volume, FrameOfReferenceUID="1.2.826.0.1.3680043.8.498.1")
    write_series(root / "elsewhere", volume)
    zipped(root / "elsewhere", scans / "zipped.zip")
    turned = sitk.PermuteAxes(sitk.Flip(volume, [True, False, True]), [2, 0, 1])
    sitk.WriteImage(turned, str(scans / "turned.nii.gz"))
    sitk.WriteImage(moved(volume), str(scans / "oblique.nrrd"))
    write_bad_scans(scans, volume)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        assert main(["segment", "-i", str(scans), "-o", str(out), *FLAGS]) == 1
    return Segmented(scans, out, said.getvalue())


def moved(image: sitk.Image) -> sitk.Image:
    """The scan of a patient who lies obliquely, somewhere else."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*np.radians((5.0, -4.0, 7.0)))
    image = sitk.Image(image)
    turned = np.array(rotation.GetMatrix()).reshape(3, 3) @ np.array(image.GetDirection()).reshape(3, 3)
    image.SetDirection(turned.ravel().tolist())
    image.SetOrigin((11.0, -23.0, 301.0))
    return image


def write_bad_scans(scans: Path, volume: sitk.Image) -> None:
    values = sitk.GetArrayFromImage(volume).astype(np.float32)
    values[tuple(n // 2 for n in values.shape)] = np.nan
    nan = sitk.GetImageFromArray(values)
    nan.CopyInformation(volume)
    sitk.WriteImage(nan, str(scans / "nan.mha"))
    sitk.WriteImage(volume * 0 + 7, str(scans / "constant.nrrd"))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(scans / "four.nii.gz"))
    whole = (scans / "metaimage.mha").read_bytes()
    (scans / "truncated.mha").write_bytes(whole[: len(whole) // 2])
    axial = sitk.PermuteAxes(volume, [int(n) for n in np.argsort(volume.GetSize())[::-1]])
    axial.SetDirection(np.eye(3).ravel().tolist())
    sitk.WriteImage(axial, str(scans / "axial.mha"))


def dice(a: sitk.Image, b: sitk.Image) -> float:
    """Mean over the structures that either has."""
    one, other = sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b)
    labels = np.union1d(one, other)[1:]
    assert len(labels) == 3
    each = [2 * ((one == k) & (other == k)).sum() / ((one == k).sum() + (other == k).sum()) for k in labels]
    return float(np.mean(each))


def test_bad_scans_are_named_in_one_table_and_the_others_segmented(segmented: Segmented):
    table = segmented.said[segmented.said.index("why there is no result") :]
    told = json.loads((segmented.out / "run.json").read_text())["scans"]
    assert {name for name, scan in told.items() if "failure" in scan} == set(BAD)
    for name, cause in BAD.items():
        row = next(line for line in table.splitlines() if line.startswith(f"{name} "))
        assert str(segmented.scans / name) in row
        assert not list(segmented.out.glob(f"{name}*"))
        assert cause in told[name]["failure"], told[name]["failure"]
    assert "Traceback" not in segmented.said
    assert set(pd.read_csv(segmented.out / "measurements.csv")["scan"]) == set(SAME + MOVED)


@pytest.mark.parametrize("name", SAME)
def test_every_format_gives_the_same_mask_in_the_same_place(name, segmented: Segmented, volume: sitk.Image):
    # Nothing states which end of a DICOM series was written first.
    mask, expected = (sitk.DICOMOrient(segmented.mask(one), "PIR") for one in (name, "metaimage"))
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(expected))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(mask, get)(), getattr(expected, get)(), atol=1e-4), get
    heat = sitk.ReadImage(str(segmented.out / f"{name}_uncertainty.nii.gz"))
    assert heat.GetSize() == volume.GetSize()


@pytest.mark.parametrize("name", MOVED)
def test_the_mask_moves_with_the_scan(name, segmented: Segmented):
    back = {
        "turned": lambda mask: sitk.Flip(sitk.PermuteAxes(mask, [1, 2, 0]), [True, False, True]),
        "oblique": sitk.Image,
    }[name]
    assert dice(back(segmented.mask(name)), segmented.mask("metaimage")) >= 0.99


def test_python_gives_the_same_and_prints_nothing(segmented: Segmented, tmp_path: Path, capfd):
    scans = segmented.scans
    with SpineSegmenter(device="cpu", preset="fast", slices="middle") as segmenter:
        image = segmenter.segment(sitk.ReadImage(str(scans / "metaimage.mha")))
        bad, dicom = segmenter.segment_each([scans / "nan.mha", scans / "dicom"])
        assert isinstance(bad, Failure)
        assert isinstance(dicom, Segmentation)
        saved = dicom.save(tmp_path, dicom_seg=True)
    assert capfd.readouterr() == ("", "")
    expected = sitk.GetArrayFromImage(segmented.mask("metaimage"))
    assert np.array_equal(sitk.GetArrayFromImage(image.mask), expected)
    assert set(image.table["structure"]) == {"spinal_canal", "vertebrae", "ivd"}
    assert (tmp_path / "dicom_seg.nii.gz").read_bytes() == (segmented.out / "dicom_seg.nii.gz").read_bytes()
    assert [path.stat().st_size > 1000 for path in saved if path.suffix == ".dcm"] == [True]


def test_another_slice_than_the_middle_one(segmented: Segmented, volume: sitk.Image, tmp_path: Path):
    number = extract_slice(volume).first_slice - 1
    words = ["segment", "-i", str(segmented.scans / "metaimage.mha"), "-o", str(tmp_path), "--keep_format"]
    assert main([*words, *FLAGS, "--slices", str(number)]) == 0
    mask = sitk.ReadImage(str(tmp_path / "metaimage_seg.mha"))
    where = np.unique(np.nonzero(sitk.GetArrayFromImage(mask))[2 - extract_slice(mask).axes[2]])
    assert len(where) == 1
    assert set(pd.read_csv(tmp_path / "measurements.csv")["slice"]) == {number}
