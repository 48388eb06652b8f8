"""Scans that must not be predicted are told apart, with the file and the reason."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_spinesegdiff.inference.inputs import why_unfit


def written(path: Path, pixels: np.ndarray, *, compress: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(pixels.astype(np.float32)), str(path), useCompression=compress)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape)


def verdict(*files: Path) -> str | None:
    return why_unfit([str(file) for file in files], SimpleITKIO())


@pytest.mark.parametrize("name", ["a_0000.nii.gz", "a_0000.mha", "a_0000.nrrd"])
@pytest.mark.parametrize("shape", [(1, 20, 30), (5, 20, 30)])
def test_a_good_scan_is_fit(tmp_path, name, shape):
    assert verdict(written(tmp_path / name, noise(*shape))) is None


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(
    ("name", "compress"),
    [("a_0000.nii.gz", False), ("a_0000.mha", False), ("a_0000.mha", True), ("a_0000.nrrd", False)],
)
def test_a_truncated_scan_is_unfit(tmp_path, name, compress, share):
    file = written(tmp_path / name, noise(1, 60, 70), compress=compress)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    reason = verdict(file)
    assert reason is not None
    assert reason.startswith(f"{file}: ")
    assert "truncated or damaged" in reason
    assert len(reason.splitlines()) == 1


def test_a_truncated_nii_is_unfit_for_the_reader_that_takes_it(tmp_path):
    file = written(tmp_path / "a_0000.nii", noise(5, 60, 70))
    assert verdict(file) is None
    file.write_bytes(file.read_bytes()[:-2000])
    assert (verdict(file) or "").startswith(f"{file}: is truncated or damaged")


def test_itk_alone_says_nothing_about_a_truncated_gzip(tmp_path):
    """Why the gzip is read to its end first. Where this fails, ITK has learned it and the check can go."""
    file = written(tmp_path / "a_0000.nii.gz", noise(1, 60, 70))
    file.write_bytes(file.read_bytes()[:-2000])
    image, _ = SimpleITKIO().read_images([str(file)])
    assert image.shape == (1, 1, 60, 70)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_pixel_of_nan_or_inf_is_unfit(tmp_path, value):
    pixels = noise(1, 20, 30)
    pixels[0, 3, 4] = value
    file = written(tmp_path / "a_0000.mha", pixels)
    reason = verdict(file)
    assert reason is not None
    assert reason.startswith(f"{file}: holds NaN or Inf")


def test_a_constant_scan_is_unfit(tmp_path):
    file = written(tmp_path / "a_0000.nii.gz", np.full((1, 20, 30), 7))
    reason = verdict(file)
    assert reason is not None
    assert reason.startswith(f"{file}: is constant")


def test_the_bad_channel_of_a_case_is_named(tmp_path):
    good = written(tmp_path / "a_0000.mha", noise(1, 20, 30))
    bad = written(tmp_path / "a_0001.mha", np.zeros((1, 20, 30)))
    assert verdict(good) is None
    assert (verdict(good, bad) or "").startswith(f"{bad}: ")


@pytest.mark.parametrize("content", [b"", b"this is a letter"])
@pytest.mark.parametrize("name", ["a_0000.mha", "a_0000.nii.gz"])
def test_other_files_are_unfit(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert (verdict(tmp_path / name) or "").startswith(f"{tmp_path / name}: is n")


def test_a_missing_file_is_unfit(tmp_path):
    assert "no such file" in (verdict(tmp_path / "none_0000.mha") or "").lower()


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO])
def test_a_scan_without_a_place_in_the_patient_is_fit(tmp_path, reader):
    """nnU-Net trains on such scans; they have no left and right, but masks."""
    scan = nib.Nifti1Image(noise(20, 30, 5).astype(np.float32), np.eye(4))
    scan.set_sform(None, 0)
    scan.set_qform(None, 0)
    nib.save(scan, tmp_path / "a_0000.nii.gz")
    assert why_unfit([str(tmp_path / "a_0000.nii.gz")], reader()) is None


def test_a_picture_is_fit_for_the_reader_of_pictures(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(noise(20, 30).astype(np.uint8)), str(tmp_path / "a_0000.png"))
    assert why_unfit([str(tmp_path / "a_0000.png")], NaturalImage2DIO()) is None


def test_nifti2_is_fit_for_the_reader_that_takes_it(tmp_path):
    file = tmp_path / "a_0000.nii.gz"
    nib.save(nib.Nifti2Image(noise(20, 30, 5).astype(np.float32), np.eye(4)), file)
    assert why_unfit([str(file)], NibabelIO()) is None
    whole = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(whole[:-2000]))
    assert "truncated or damaged" in (why_unfit([str(file)], NibabelIO()) or "")
