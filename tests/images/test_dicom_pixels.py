"""Pixels of DICOM images in many encodings: their values are the right ones, or they are rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from nnunetv2_spinesegdiff.images.dicom import read_exam
from nnunetv2_spinesegdiff.images.scan import ScanSource

from ..helpers.scan_files import scan, values, write_enhanced, write_series


def values_of(exam: Path) -> np.ndarray:
    """Before anything asks whether they are those of a scan."""
    return values(read_exam(ScanSource("exam", exam, "dicom"), exam, None, any_plane=False).image)


def shifted(offset: int) -> sitk.Image:
    """Values from 0 to 800, and `offset` more: signed or unsigned 16 bits, as they need."""
    image = sitk.Cast(scan(), sitk.sitkInt32) + offset
    return sitk.Cast(image, sitk.sitkUInt16 if offset > 0 else sitk.sitkInt16)


def as_jpeg2000(pixels: np.ndarray, folder: Path) -> bytes:
    """A code stream of GDCM's, which states the sign of the array's type."""
    path = folder / "compressed"
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    writer.Execute(sitk.GetImageFromArray(pixels[None]))
    written = dcmread(path)
    assert written.file_meta.TransferSyntaxUID == uid.JPEG2000Lossless
    return next(generate_frames(written.PixelData, number_of_frames=1))


def compress(image: sitk.Image, signed: bool, folder: Path) -> Callable[[Dataset, int], None]:
    """A change of slices into JPEG 2000 ones of the image's type, which are signed by their header or not."""

    def change(dataset: Dataset, k: int) -> None:
        dataset.PixelData = encapsulate([as_jpeg2000(values(image)[k], folder)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        dataset.PixelRepresentation = int(signed)

    return change


@pytest.mark.parametrize("rescale", [(1, 0), (0.5, 20), (-2, 0)])
@pytest.mark.parametrize("offset", [-300, 0, 40000])
@pytest.mark.parametrize("signed", [True, False])
def test_jpeg2000(signed, offset, rescale, tmp_path, refused):
    """Where header and code stream differ, values that would depend on it are rejected."""
    image = shifted(offset)
    tags = {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]} if rescale != (1, 0) else {}
    exam = write_series(tmp_path / "exam", scan(), change=compress(image, signed, tmp_path), **tags)
    if offset == 0 or signed == (offset < 0):
        assert np.array_equal(values_of(exam), values(image) * float(rescale[0]) + rescale[1])
    else:
        assert "PixelRepresentation" in refused(exam)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("offset", [-300, 0])
def test_jpeg_ls(bits, offset, tmp_path):
    """Its data do not state a sign."""
    pytest.importorskip("jpeg_ls", reason="no encoder of JPEG-LS: pip install pyjpegls")

    def change(dataset: Dataset, k: int) -> None:
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.compress(uid.JPEGLSLossless, generate_instance_uid=False)

    exam = write_series(tmp_path / "exam", shifted(offset), change=change)
    assert np.array_equal(values_of(exam), values(shifted(offset)))


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless]
)
def test_other_transfer_syntaxes(syntax, tmp_path):
    def change(dataset: Dataset, k: int) -> None:
        if syntax == uid.RLELossless:
            dataset.compress(uid.RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax

    exam = write_series(tmp_path / "exam", shifted(-300), change=change)
    assert np.array_equal(values_of(exam), values(shifted(-300)))


def test_big_endian(tmp_path):
    exam = write_series(tmp_path / "exam", shifted(-300))
    for file in exam.iterdir():
        dataset = dcmread(file)
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
        dcmwrite(file, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    assert np.array_equal(values_of(exam), values(shifted(-300)))


def of_12_bits(high: int, signed: int, store: Callable[[np.ndarray], np.ndarray]):
    """A change of slices into values of 12 bits that are stored like this."""

    def change(dataset: Dataset, k: int) -> None:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, high, signed
        dataset.PixelData = store(values(scan())[k].astype("<u2")).tobytes()

    return change


@pytest.mark.parametrize("signed", [0, 1])
def test_overlays_in_the_unused_bits_are_no_part_of_the_values(signed, tmp_path):
    overlaid = of_12_bits(11, signed, lambda pixels: pixels | 0xA000)
    assert np.array_equal(values_of(write_series(tmp_path / "exam", scan(), change=overlaid)), values(scan()))


@pytest.mark.parametrize("shift", [0, 4])
def test_values_that_are_shifted_are_rejected(shift, tmp_path, refused):
    """Where HighBit is wrong and the values are not shifted, they are read."""
    exam = write_series(tmp_path / "exam", scan(), change=of_12_bits(15, 0, lambda pixels: pixels << shift))
    if shift:
        assert refused(exam)
    else:
        assert np.array_equal(values_of(exam), values(scan()))


@pytest.mark.parametrize("missing", [2, 5000])
def test_missing_pixels_are_no_zeros(missing, tmp_path, refused):
    exam = write_series(tmp_path / "exam", scan())
    enhanced = write_enhanced(tmp_path / "enhanced.dcm", scan())
    for file in (*exam.iterdir(), enhanced):
        dataset = dcmread(file)
        dataset.PixelData = dataset.PixelData[:-missing]
        dataset.save_as(file)
    assert refused(exam)
    assert refused(enhanced)
