"""Scans that must not be predicted are found, with the file and the reason."""

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


def verdict(*files: Path, reader: type = SimpleITKIO) -> str:
    """The reason, one line; "" for a scan that is fit."""
    reason = why_unfit([str(file) for file in files], reader()) or ""
    assert len(reason.splitlines()) <= 1
    return reason


@pytest.mark.parametrize("shape", [(1, 60, 70), (5, 60, 70)])
@pytest.mark.parametrize(
    ("name", "compress"),
    [
        *(("a_0000.nii.gz", False), ("a_0000.nii", False), ("a_0000.nrrd", False)),
        *(("a_0000.mha", False), ("a_0000.mha", True)),
    ],
)
def test_a_good_scan_is_fit_and_truncated_it_is_not(tmp_path, name, compress, shape):
    file = written(tmp_path / name, noise(*shape), compress=compress)
    assert verdict(file) == ""
    whole = file.read_bytes()
    for share in (0.05, 0.5, 0.95):
        file.write_bytes(whole[: int(len(whole) * share)])
        assert verdict(file).startswith(f"{file}: is truncated or damaged")


def test_itk_alone_accepts_a_truncated_gzip(tmp_path):
    """Why the gzip is read to its end first. If this fails, ITK has learned it and the check can go."""
    file = written(tmp_path / "a_0000.nii.gz", noise(1, 60, 70))
    file.write_bytes(file.read_bytes()[:-2000])
    image, _ = SimpleITKIO().read_images([str(file)])
    assert image.shape == (1, 1, 60, 70)


@pytest.mark.parametrize(
    ("value", "where", "told"),
    [
        (np.nan, (0, 3, 4), "NaN"),
        (np.inf, (0, 3, 4), "Inf"),
        (-np.inf, (0, 3, 4), "Inf"),
        (7, slice(None), "constant"),
    ],
)
def test_nan_inf_and_constant_channels_are_named(tmp_path, value, where, told):
    good = written(tmp_path / "a_0000.mha", noise(1, 20, 30))
    pixels = noise(1, 20, 30)
    pixels[where] = value
    bad = written(tmp_path / "a_0001.mha", pixels)
    reason = verdict(good, bad)
    assert reason.startswith(f"{bad}: ")
    assert told in reason


@pytest.mark.parametrize("content", [b"", b"this is a letter", None])
@pytest.mark.parametrize("name", ["a_0000.mha", "a_0000.nii.gz"])
def test_other_and_missing_files_are_unfit(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert verdict(tmp_path / name).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO])
def test_a_scan_without_a_place_in_the_patient_is_fit(tmp_path, reader):
    """nnU-Net trains on such scans; they have no left and right, but masks."""
    scan = nib.Nifti1Image(noise(20, 30, 5).astype(np.float32), np.eye(4))
    scan.set_sform(None, 0)
    scan.set_qform(None, 0)
    nib.save(scan, tmp_path / "a_0000.nii.gz")
    assert verdict(tmp_path / "a_0000.nii.gz", reader=reader) == ""


def test_pictures_and_nifti2_are_fit_for_their_readers(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(noise(20, 30).astype(np.uint8)), str(tmp_path / "a_0000.png"))
    assert verdict(tmp_path / "a_0000.png", reader=NaturalImage2DIO) == ""
    file = tmp_path / "a_0000.nii.gz"
    nib.save(nib.Nifti2Image(noise(20, 30, 5).astype(np.float32), np.eye(4)), file)
    assert verdict(file, reader=NibabelIO) == ""
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-2000]))
    assert "truncated or damaged" in verdict(file, reader=NibabelIO)
