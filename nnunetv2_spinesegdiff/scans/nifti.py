"""NIfTI files. ITK mends their headers in silence, so they are looked at with nibabel first.

ITK makes 1 mm of a voxel size that is 0, negative or no number, 0 of a voxel that is NaN or infinite,
something of voxels that are missing, and an identity of a place that is not told. A sheared sform it refuses,
or takes the qform instead.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from ..dataset_conversion.geometry import Grid, grids_differ_by_mm
from .inflated import inflate_file
from .itk import read_image
from .kind import refuse_channels, refuse_dimensions
from .refusal import DAMAGED, Refusal
from .shear import refuse_shear, shear_deg, shear_warnings
from .spacing import refuse_no_spacing

NIFTI_IO = "NiftiImageIO"

MAX_DISAGREEMENT_MM = 1.0
_ROUNDING_DEG = 1e-3  # of the header's float32; ITK takes it without a word
_MM = {1: 1000.0, 3: 0.001}  # metres and microns
_BYTES_OF_NIFTI1, _BYTES_OF_NIFTI2 = 348, 540
_FIRST_VOXEL = 352  # before it, in one file, is the header


def read_nifti(path: Path, folder: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a .nii or .nii.gz; returns the image and warnings.

    Args:
        folder: for files that are needed while reading.

    Raises:
        Refusal: it is damaged, or its header or its voxels are not those of a scan.
    """
    plain = inflate_file(path, folder / "inflated.nii") if path.name.lower().endswith(".gz") else path
    header = _header(plain)
    shape, kind = _shape(header), _kind(header)
    offset = max(header.get_data_offset(), _FIRST_VOXEL)
    if plain.stat().st_size < offset + prod(shape) * kind.itemsize:
        raise Refusal(DAMAGED)
    refuse_dimensions(len(shape))
    refuse_no_spacing(header["pixdim"][1:4].tolist())
    refuse_placeless(header)
    degrees, moved_mm = _shear(header)
    refuse_shear(degrees)
    if kind.kind == "f":
        _refuse_not_finite(np.memmap(plain, kind, "r", offset, shape))
    if degrees > _ROUNDING_DEG:
        plain = _straightened(plain, header, folder / "straight.nii")
    return read_image((plain,), NIFTI_IO), shear_warnings(degrees, moved_mm)


def refuse_placeless(header: Any) -> None:
    """Refuse a NIfTI header that does not tell where its voxels lie, or tells it twice and differently.

    Raises:
        Refusal: neither qform nor sform is set, one is no geometry, or they differ by more than 1 mm.
    """
    with_q, with_s = int(header["qform_code"]) > 0, int(header["sform_code"]) > 0
    if not (with_q or with_s):
        raise Refusal(
            "neither its qform nor its sform is set, nothing tells left from right: convert it again"
        )
    try:
        affines = [header.get_sform()] * with_s + [header.get_qform()] * with_q
    except ValueError:  # a quaternion that is none
        affines = [np.full((4, 4), np.nan)]
    if not all(map(_is_geometry, affines)):
        raise Refusal("the directions of its axes are no directions: correct the header or convert it again")
    grids = [_grid(header, affine) for affine in affines]
    if len(grids) == 2:
        apart = grids_differ_by_mm(*grids)
        if not apart <= MAX_DISAGREEMENT_MM:
            raise Refusal(
                f"its qform and its sform disagree, voxels lie {apart:.1f} mm apart: remove the wrong one"
            )
    elif with_s:
        x, y, z = (np.asarray(header["pixdim"][1:4], float) * _unit_mm(header)).tolist()
        apart = grids_differ_by_mm(grids[0], replace(grids[0], spacing=(x, y, z)))
        if not apart <= MAX_DISAGREEMENT_MM:
            raise Refusal(
                f"its sform and its voxel sizes (pixdim) disagree, voxels lie {apart:.1f} mm apart: "
                "correct the wrong one"
            )


def _header(path: Path) -> Any:
    """The header as it is: nibabel's own reading mends it, too."""
    with path.open("rb") as stream:
        start = stream.read(_BYTES_OF_NIFTI2)
    if nib.Nifti2Header.may_contain_header(start):
        raise Refusal("is NIfTI-2, which ITK does not read: convert it to NIfTI-1")
    if not nib.Nifti1Header.may_contain_header(start):
        raise Refusal("is no NIfTI file, or truncated or damaged: copy or download it again")
    header: Any = nib.Nifti1Header(start[:_BYTES_OF_NIFTI1], check=False)
    if header["magic"].item() != b"n+1":
        raise Refusal("is the header of a pair of files: convert it to one .nii or .nii.gz")
    # Which way the quaternion's third axis runs: 1 unless -1; nibabel wants one of them.
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    return header


def _shape(header: Any) -> tuple[int, ...]:
    """Without ones behind the third dimension, which mean nothing."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if min(shape, default=0) < 1:
        raise Refusal(f"has no voxels by its header: {DAMAGED.removeprefix('is truncated or ')}")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:  # where NIfTI has its vectors
        refuse_channels(shape[4])
    return shape


def _kind(header: Any) -> np.dtype:
    code, codes = int(header["datatype"]), nib.nifti1.data_type_codes
    kind = np.dtype(codes.dtype[code] if code in codes.code else "V0")  # type: ignore[call-overload]
    if kind.itemsize == 0:
        raise Refusal(f"the type of its voxels ({code}) is unknown: convert it again")
    return kind.newbyteorder(header.endianness)


def _unit_mm(header: Any) -> float:
    return _MM.get(int(header["xyzt_units"]) % 8, 1.0)


def _is_geometry(affine: np.ndarray) -> bool:
    return bool(np.isfinite(affine).all() and np.linalg.norm(affine[:3, :3], axis=0).min() > 0)


def _grid(header: Any, affine: np.ndarray) -> Grid:
    """The grid in mm that an affine of RAS makes, in LPS; as sheared as the affine is."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3] * _unit_mm(header)
    lengths = np.linalg.norm(lps[:, :3], axis=0)
    size = (*(int(n) for n in header.get_data_shape()[:3]),)
    direction = tuple((lps[:, :3] / np.where(lengths > 0, lengths, 1)).ravel().tolist())
    return Grid(size, tuple(lengths.tolist()), tuple(lps[:, 3].tolist()), direction)


def _shear(header: Any) -> tuple[float, float]:
    """By how many degrees the sform's axes miss right angles, and how far voxels move without that."""
    if int(header["sform_code"]) <= 0:
        return 0.0, 0.0  # a quaternion has no shear
    grid = _grid(header, header.get_sform())
    return shear_deg(grid.cosines), grids_differ_by_mm(grid, grid.orthonormal())


def _straightened(plain: Path, header: Any, target: Path) -> Path:
    """A copy whose only geometry is the sform with its axes at right angles."""
    straight = header.copy()
    grid = _grid(header, header.get_sform()).orthonormal()
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ grid.cosines * np.asarray(grid.spacing) / _unit_mm(header)
    affine[:3, 3] = header.get_sform()[:3, 3]
    straight.set_qform(affine, code=int(header["sform_code"]))
    straight.set_sform(None, code=0)
    content = plain.read_bytes()
    block = straight.binaryblock
    target.write_bytes(block + content[len(block) :])
    return target


def _refuse_not_finite(values: np.ndarray) -> None:
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise Refusal(f"{bad} voxels are NaN or infinite: repair the image")
