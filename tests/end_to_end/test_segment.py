"""`spinesegdiff segment`: one volume in every format and place, beside what is no scan of a spine."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice, put_back

from ..images.made_up import write_series, zipped
from .conftest import Workspace

SAME = ("compressed", "dicom", "header", "metaimage", "nrrd", "zipped")
MOVED = ("flipped", "oblique", "turned")
BAD = {
    "axial": "axial",
    "constant": "all voxels",
    "four": "2 volumes",
    "nan": "NaN",
    "truncated": "damaged",
}


@dataclass(frozen=True)
class Segmented:
    """A folder of scans, what was made of it, and what was said."""

    workspace: Workspace
    scans: Path
    out: Path
    said: str

    @property
    def model(self) -> Path:
        return self.workspace.results()

    def mask(self, name: str) -> sitk.Image:
        return sitk.ReadImage(str(self.out / f"{name}_seg.nii.gz"))

    def again(self, name: str, flags: str, fails: bool = False) -> tuple[Path, str]:
        """Segment one of the scans in another way."""
        out = self.workspace.root / f"again_{name}_{len(list(self.workspace.root.iterdir()))}"
        command = f"spinesegdiff segment -i {self.scans / name} -o {out} -device cpu --slices middle {flags}"
        return out, self.workspace.run(command, fails=fails)


@pytest.fixture(scope="module")
def volume(planned: Workspace) -> sitk.Image:
    """A phantom's whole volume, as it was written by the scanner."""
    return sitk.ReadImage(str(planned.root / "cohort" / "images" / "2_t2.mha"))


@pytest.fixture(scope="module")
def segmented(trained: Workspace, volume: sitk.Image) -> Segmented:
    scans, out = trained.root / "scans", trained.root / "segmented"
    scans.mkdir()
    for name, ending in (("compressed", "nii.gz"), ("metaimage", "mha"), ("nrrd", "nrrd"), ("header", "mhd")):
        sitk.WriteImage(volume, str(scans / f"{name}.{ending}"))
    write_series(scans / "dicom", volume, FrameOfReferenceUID="1.2.826.0.1.3680043.8.498.1")
    write_series(trained.root / "elsewhere", volume)
    zipped(trained.root / "elsewhere", scans / "zipped.zip")
    sitk.WriteImage(sitk.Flip(volume, [True, False, True]), str(scans / "flipped.mha"))
    sitk.WriteImage(sitk.PermuteAxes(volume, [2, 0, 1]), str(scans / "turned.nii.gz"))
    sitk.WriteImage(moved(volume), str(scans / "oblique.nrrd"))
    write_bad_scans(scans, volume)
    command = f"spinesegdiff segment -i {scans} -o {out} -m {trained.results()} -device cpu --slices middle"
    return Segmented(trained, scans, out, trained.run(f"{command} --preset fast", fails=True))


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
    values[3, 50:60, 50] = np.nan
    nan = sitk.GetImageFromArray(values)
    nan.CopyInformation(volume)
    sitk.WriteImage(nan, str(scans / "nan.mha"))
    sitk.WriteImage(volume * 0 + 7, str(scans / "constant.nrrd"))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(scans / "four.nii.gz"))
    whole = (scans / "metaimage.mha").read_bytes()
    (scans / "truncated.mha").write_bytes(whole[: len(whole) // 2])
    axial = sitk.Image(volume)
    axial.SetDirection(np.eye(3).ravel().tolist())
    axial.SetSpacing((1.0, 1.0, 5.0))
    sitk.WriteImage(axial, str(scans / "axial.mha"))


def dice(a: sitk.Image, b: sitk.Image) -> float:
    """Mean over the structures that either has."""
    one, other = sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b)
    labels = np.union1d(one, other)[1:]
    assert len(labels), "nothing was segmented"
    each = [2 * ((one == k) & (other == k)).sum() / ((one == k).sum() + (other == k).sum()) for k in labels]
    return float(np.mean(each))


def test_five_of_twelve_are_bad_and_named_in_one_table(segmented: Segmented):
    table = segmented.said[segmented.said.index("why there is no result") :]
    for name in BAD:
        row = next(line for line in table.splitlines() if line.startswith(f"{name} "))
        assert str(segmented.scans / name) in row
        assert not list(segmented.out.glob(f"{name}*"))
    told = json.loads((segmented.out / "run.json").read_text())["scans"]
    assert {name for name, scan in told.items() if "failure" in scan} == set(BAD)
    for name, cause in BAD.items():
        assert cause in told[name]["failure"], told[name]["failure"]
    assert f"{len(SAME + MOVED)} segmented, 0 finished already, {len(BAD)} failed" in segmented.said
    assert "Traceback" not in segmented.said
    rows = pd.read_csv(segmented.out / "measurements.csv")
    assert set(rows["scan"]) == set(SAME + MOVED)


@pytest.mark.parametrize("name", SAME)
def test_every_format_gives_the_same_mask_in_the_same_place(name, segmented: Segmented, volume: sitk.Image):
    # Of a DICOM series nobody knows which end was written first.
    mask, expected = (sitk.DICOMOrient(segmented.mask(one), "PIR") for one in (name, "metaimage"))
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(expected))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(mask, get)(), getattr(expected, get)(), atol=1e-4), get
    heat = sitk.ReadImage(str(segmented.out / f"{name}_uncertainty.nii.gz"))
    assert heat.GetSize() == volume.GetSize()


@pytest.mark.parametrize("name", MOVED)
def test_the_mask_moves_with_the_scan(name, segmented: Segmented):
    back = {
        "flipped": lambda mask: sitk.Flip(mask, [True, False, True]),
        "turned": lambda mask: sitk.PermuteAxes(mask, [1, 2, 0]),
        "oblique": sitk.Image,
    }[name]
    assert dice(back(segmented.mask(name)), segmented.mask("metaimage")) >= 0.99


def test_it_says_what_convert_and_predict_say(segmented: Segmented, volume: sitk.Image):
    workspace = segmented.workspace
    images = workspace.root / "converted_case"
    images.mkdir()
    case = workspace.raw / "imagesTr" / "SPIDER_002_t2_0000.nii.gz"
    (images / case.name).write_bytes(case.read_bytes())
    workspace.predict(images, workspace.root / "predicted", "--preset fast")
    predicted = sitk.ReadImage(str(workspace.root / "predicted" / "SPIDER_002_t2.nii.gz"))
    expected = put_back(predicted, extract_slice(volume))
    mask = segmented.mask("metaimage")
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(expected))


def test_a_zip_gives_the_same_as_the_folder(segmented: Segmented):
    zip_file = segmented.workspace.root / "model.zip"
    segmented.workspace.run(f"spinesegdiff export -m {segmented.model} -o {zip_file}")
    out, _ = segmented.again("dicom", f"-m {zip_file} --preset fast --dicom_seg")
    assert (out / "dicom_seg.nii.gz").read_bytes() == (segmented.out / "dicom_seg.nii.gz").read_bytes()
    assert (out / "dicom_overlay.png").read_bytes() == (segmented.out / "dicom_overlay.png").read_bytes()
    assert (out / "dicom_seg.dcm").stat().st_size > 1000


def test_python_says_the_same_and_prints_nothing(segmented: Segmented):
    code = f"""
import numpy as np, SimpleITK as sitk
from nnunetv2_spinesegdiff import SpineSegmenter
with SpineSegmenter({str(segmented.model)!r}, device="cpu", preset="fast", slices="middle") as segmenter:
    result = segmenter.segment({str(segmented.scans / "nrrd.nrrd")!r})
    again = segmenter.segment(sitk.ReadImage({str(segmented.scans / "metaimage.mha")!r}))
    each = list(segmenter.segment_each({[str(segmented.scans / name) for name in ("nan.mha", "dicom")]!r}))
expected = sitk.GetArrayFromImage(sitk.ReadImage({str(segmented.out / "nrrd_seg.nii.gz")!r}))
for one in (result, again, each[1]):
    assert np.array_equal(sitk.GetArrayFromImage(one.mask), expected)
assert "NaN" in each[0].reason
assert set(result.table["structure"]) == {{"spinal_canal", "vertebrae", "ivd"}}
saved = result.save("saved", keep_format=True)
assert [path.name for path in saved] == ["nrrd_seg.nrrd", "nrrd_uncertainty.nrrd", "nrrd_overlay.png"]
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=segmented.workspace.root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_another_slice_than_the_middle_one(segmented: Segmented, volume: sitk.Image):
    number = extract_slice(volume).first_slice - 1
    out, _ = segmented.again("nrrd.nrrd", f"-m {segmented.model} --slices {number} --keep_format")
    mask = sitk.ReadImage(str(out / "nrrd_seg.nrrd"))
    where = np.unique(np.nonzero(sitk.GetArrayFromImage(mask))[2 - extract_slice(mask).axes[2]])
    assert len(where) == 1
    assert set(pd.read_csv(out / "measurements.csv")["slice"]) == {number}


def test_what_is_no_model_is_one_line(segmented: Segmented):
    _, said = segmented.again("nrrd.nrrd", f"-m {segmented.scans}", fails=True)
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"error: {segmented.scans}")
    assert "Traceback" not in said
