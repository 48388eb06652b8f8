"""Small made-up scans in every kind of file."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"

# Columns are the LPS directions of columns, rows and slices: front to back, head to foot, left to right.
SAGITTAL = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])
AXIAL = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
CORONAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])

SIZE = (70, 64, 7)
SPACING = (1.7, 1.8, 4.4)
ORIGIN = (14.0, -60.0, 55.0)

COMPLETE: dict[str, Any] = {
    "FrameOfReferenceUID": "1.2.3.4",
    "PositionReferenceIndicator": "",
    "ImageType": ["ORIGINAL", "PRIMARY", "M"],
    **{"StudyID": "1", "StudyDate": "20200102", "StudyTime": "101112", "AccessionNumber": ""},
    **{"PatientBirthDate": "19500101", "PatientSex": "F"},
}
"""Attributes of a DICOM image that the reader does not need, and DICOM-SEG does."""


def scan(
    cosines: np.ndarray = SAGITTAL,
    size: Sequence[int] = SIZE,
    spacing: Sequence[float] = SPACING,
    dtype: Any = np.int16,
    seed: int = 0,
) -> sitk.Image:
    """A scan of noise over a ramp, so that every voxel is where it is and nowhere else."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 300, int(np.prod(size))).reshape(tuple(size)[::-1])
    image = sitk.GetImageFromArray((ramp + rng.integers(0, 500, ramp.shape)).astype(dtype))
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin(ORIGIN)
    image.SetDirection(cosines.ravel().tolist())
    return image


def values(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def with_values(array: np.ndarray, other: sitk.Image | None = None) -> sitk.Image:
    """An image of these values on the grid of another one, or of `scan`."""
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(other or scan())
    return image


def nearest_rotation(cosines: np.ndarray) -> np.ndarray:
    """Of axes (3, 3) in columns, computed apart from the package: by the square root of the Gram matrix."""
    roots, vectors = np.linalg.eigh(cosines.T @ cosines)
    return cosines @ (vectors / np.sqrt(roots)) @ vectors.T


def write(image: sitk.Image, path: Path, compressed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


def lps_to_ras(image: sitk.Image) -> np.ndarray:
    """The affine (4, 4) that NIfTI has for an image, computed apart from ITK."""
    affine = np.eye(4)
    cosines = np.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = np.diag([-1, -1, 1]) @ cosines * np.array(image.GetSpacing())
    affine[:3, 3] = np.diag([-1, -1, 1]) @ np.array(image.GetOrigin())
    return affine


def write_nifti(
    path: Path,
    array: np.ndarray,
    sform: np.ndarray,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    voxel_sizes: dict[int, float] | None = None,
    **fields: Any,
) -> Path:
    """A NIfTI file with exactly these header fields; `codes` are of qform and sform, arrays are (x, y, z).

    Args:
        voxel_sizes: index in `pixdim` to a value that replaces that of the affine.
    """
    header = nib.Nifti1Header(endianness=">" if array.dtype.byteorder == ">" else "<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["pixdim"][1:4] = np.linalg.norm(sform[:3, :3], axis=0)
    header.set_qform(sform if qform is None else qform, code=codes[0])
    header.set_sform(sform, code=codes[1])
    header.set_xyzt_units("mm")
    header["vox_offset"] = 352
    for axis, size in (voxel_sizes or {}).items():
        header["pixdim"][axis] = size
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + bytes(4) + array.tobytes(order="F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def _write_voxels(path: Path, header: Sequence[str], voxels: bytes, apart: bool) -> Path:
    content = "\n".join([*header, ""]).encode()
    path.write_bytes(content if apart else content + voxels)
    if apart:
        path.with_name("voxels.raw").write_bytes(voxels)
    return path


def _words(numbers: Any, between: str = " ") -> str:
    return between.join(map(repr, np.asarray(numbers).ravel().tolist()))


def write_metaimage(
    path: Path,
    voxels: np.ndarray,
    steps: np.ndarray,
    origin: Sequence[float],
    packed: bool = False,
    **fields: Any,
) -> Path:
    """A MetaImage file of int16 voxels (i, j, k); of `.mhd`, the voxels are in a file of their own.

    Args:
        steps: (3, 3), from voxel to voxel, one column per axis.
        fields: replaced or added; None leaves one out.
    """
    apart = path.suffix == ".mhd"
    spacing = np.linalg.norm(steps, axis=0)
    content = voxels.tobytes(order="F")
    header = {
        **{"ObjectType": "Image", "NDims": 3, "BinaryData": True},
        **{"BinaryDataByteOrderMSB": voxels.dtype.byteorder == ">", "CompressedData": packed},
        **{"TransformMatrix": _words((steps / spacing).T), "Offset": _words(origin)},
        **{"ElementSpacing": _words(spacing), "DimSize": _words(voxels.shape), "ElementType": "MET_SHORT"},
        **fields,
        "ElementDataFile": "voxels.raw" if apart else "LOCAL",
    }
    lines = [f"{name} = {value}" for name, value in header.items() if value is not None]
    return _write_voxels(path, lines, zlib.compress(content, 1) if packed else content, apart)


def write_nrrd(
    path: Path, voxels: np.ndarray, steps: np.ndarray, origin: Sequence[float], packed: bool = False, **fields
) -> Path:
    """An NRRD file as `write_metaimage`, with steps and origin in its own space; of `.nhdr`, in two files."""
    apart = path.suffix == ".nhdr"
    content = voxels.tobytes(order="F")
    header = {
        **{"type": "short", "dimension": 3, "space": "left-posterior-superior"},
        **{"sizes": _words(voxels.shape), "endian": "big" if voxels.dtype.byteorder == ">" else "little"},
        "space_directions": " ".join(f"({_words(step, ',')})" for step in steps.T),
        **{"space_origin": f"({_words(origin, ',')})", "encoding": "gzip" if packed else "raw"},
        "data_file": "voxels.raw" if apart else None,
        **fields,
    }
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in header.items() if value is not None]
    voxels_of_file = gzip.compress(content, 1) if packed else content
    return _write_voxels(path, ["NRRD0004", *lines, ""], voxels_of_file, apart)


def dicom_slice(image: sitk.Image, k: int, series: str, study: str, **tags: Any) -> Dataset:
    """Slice k of an image as a DICOM dataset."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", MR)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    cosines = np.reshape(image.GetDirection(), (3, 3))
    pixels = values(image)[k].astype("<i2")
    d = Dataset()
    d.file_meta = meta
    d.SOPClassUID, d.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    d.StudyInstanceUID, d.SeriesInstanceUID = study, series
    d.SeriesNumber, d.SeriesDescription, d.Modality = 3, "T2 sag", "MR"
    d.PatientID, d.PatientName, d.InstanceNumber, d.EchoTime = "made-up", "Made^Up", k + 1, 100
    d.Rows, d.Columns = pixels.shape
    d.PixelSpacing = [image.GetSpacing()[1], image.GetSpacing()[0]]
    d.SliceThickness = image.GetSpacing()[2]
    d.ImageOrientationPatient = [round(float(v), 12) for v in (*cosines[:, 0], *cosines[:, 1])]
    position = image.TransformIndexToPhysicalPoint((0, 0, k))
    d.ImagePositionPatient = [round(float(v), 9) for v in position]
    d.BitsAllocated = d.BitsStored = 16
    d.HighBit, d.PixelRepresentation, d.SamplesPerPixel = 15, 1, 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(d, name, value)
    return d


def write_series(
    folder: Path,
    image: sitk.Image,
    series: str | None = None,
    study: str | None = None,
    change: Callable[[Dataset, int], Any] | None = None,
    **tags: Any,
) -> Path:
    """Write an image as a DICOM series of files without endings, in shuffled order; returns the folder.

    Args:
        change: what is done to slice k's dataset before it is written; one that it answers False to is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study = series or generate_uid(), study or generate_uid()
    order = np.random.default_rng(1).permutation(image.GetSize()[2])
    for number, k in enumerate(order.tolist()):
        dataset = dicom_slice(image, k, series, study, **tags)
        if change is None or change(dataset, k) is not False:
            dataset.save_as(folder / f"IM{series[-4:]}{number:03d}", enforce_file_format=True)
    return folder


def item(**attributes: Any) -> list[Dataset]:
    """A sequence of one item."""
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return [dataset]


def write_enhanced(
    path: Path,
    image: sitk.Image,
    order: Sequence[int] | None = None,
    change: Callable[[Dataset, int], Any] = lambda frame, number: None,
    **tags: Any,
) -> Path:
    """Write an image as one enhanced MR file, its frames in this order.

    Args:
        change: what is done to the item of every frame, from 0.
    """
    d = dicom_slice(image, 0, generate_uid(), generate_uid(), SOPClassUID=ENHANCED_MR, **tags)
    frames = range(image.GetSize()[2]) if order is None else order
    d.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=d.ImageOrientationPatient),
        PixelMeasuresSequence=item(PixelSpacing=d.PixelSpacing, SliceThickness=d.SliceThickness),
    )
    d.PerFrameFunctionalGroupsSequence = []
    for number, k in enumerate(frames):
        point = [round(float(v), 9) for v in image.TransformIndexToPhysicalPoint((0, 0, int(k)))]
        (frame,) = item(PlanePositionSequence=item(ImagePositionPatient=point))
        change(frame, number)
        d.PerFrameFunctionalGroupsSequence.append(frame)
    for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness"):
        delattr(d, name)
    d.NumberOfFrames = len(frames)
    d.PixelData = values(image)[list(frames)].astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    d.save_as(path, enforce_file_format=True)
    return path


def write_report(path: Path) -> Path:
    """A structured report: DICOM, but no image."""
    d = dicom_slice(scan(), 0, generate_uid(), generate_uid(), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    for name in ("PixelData", "Rows", "Columns"):
        delattr(d, name)
    d.save_as(path, enforce_file_format=True)
    return path


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path
