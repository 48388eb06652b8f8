"""NIfTI files, read with nibabel. Their headers are looked at as they stand, before anything mends them.

The sform determines voxel positions if its code is above 0, otherwise the qform. The NIfTI-1 standard leaves
the choice open; nibabel, FSL and SPM decide the same way. Masks and maps get both forms of the scan's header,
so they match the scan in every reader.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from .grid import Grid, grids_differ_by_mm
from .inflated import inflate_file
from .kind import refuse_channels, refuse_dimensions
from .refusal import DAMAGED, Refusal
from .shear import refuse_shear, shear_deg, shear_warnings
from .spacing import refuse_no_spacing

MAX_DISAGREEMENT_MM = 1.0
"""Between voxels by the sform and by the qform."""
NOTICED_DISAGREEMENT_MM = 0.1

_MM = {1: 1000.0, 3: 0.001}  # meters and microns
_BYTES_OF_NIFTI1, _BYTES_OF_NIFTI2 = 348, 540
_FIRST_VOXEL = 352  # before it, in one file, is the header
_GEOMETRY = (
    *("pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def read_nifti(path: Path, folder: Path) -> tuple[sitk.Image, tuple[str, ...], Any]:
    """Read a .nii or .nii.gz; returns the image, warnings and its header.

    Args:
        folder: for files that are needed while reading.

    Raises:
        Refusal: it is damaged, or its header or its voxels are not those of a scan.
    """
    plain, warnings = path, list[str]()
    if path.name.lower().endswith(".gz"):
        plain = folder / "inflated.nii"
        if inflate_file(path, plain):
            warnings.append("bytes behind the end of the compressed image were left out")
    header = _header(plain)
    shape, kind = _shape(header), _kind(header)
    offset = max(header.get_data_offset(), _FIRST_VOXEL)
    if plain.stat().st_size < offset + prod(shape) * kind.itemsize:
        raise Refusal(DAMAGED)
    refuse_dimensions(len(shape))
    sizes = header["pixdim"][1:4]
    if int(header["sform_code"]) > 0 and np.isfinite(sizes).all() and sizes.min() < 0 < np.abs(sizes).min():
        warnings.append("a voxel size in its header is negative; the sform says where the voxels lie")
        header["pixdim"][1:4] = np.abs(sizes)
    refuse_no_spacing(header["pixdim"][1:4].tolist())
    apart = disagreement_mm(header)
    if apart > NOTICED_DISAGREEMENT_MM:
        warnings.append(f"its qform and its sform disagree by {apart:.1f} mm; the sform counts")
    grid = _placed(header)
    degrees = shear_deg(grid.cosines)
    refuse_shear(degrees)
    upright = grid.orthonormal()
    warnings += shear_warnings(degrees, grids_differ_by_mm(grid, upright))
    image = upright.image(_values(np.memmap(plain, kind, "r", offset, shape, "F"), header))
    return image, tuple(warnings), header


def _values(stored: np.ndarray, header: Any) -> np.ndarray:
    """(z, y, x), in the machine's byte order, scaled where the header says so."""
    if stored.dtype.fields:
        refuse_channels(len(stored.dtype.fields))
    values = np.ascontiguousarray(stored.T, dtype=stored.dtype.newbyteorder("="))
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # A slope of 0 means no scaling, whatever the intercept is (NIfTI-1, scl_slope).
    if np.isfinite([slope, intercept]).all() and slope != 0 and (slope, intercept) != (1, 0):
        with np.errstate(over="ignore"):
            values = (values * slope + intercept).astype(np.float32)
    return values


def disagreement_mm(header: Any) -> float:
    """Return the distance in mm between voxel positions by sform and by qform (without one: by pixdim).

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
    grids, other = [_grid(header, affine) for affine in affines], "qform"
    if not with_q:
        # The qform's lengths are the voxel sizes; without one these are a second opinion on the sform.
        grids.append(Grid(grids[0].size, _sizes(header), grids[0].origin, grids[0].direction))
        other = "voxel sizes (pixdim)"
    apart = grids_differ_by_mm(grids[0], grids[-1])
    if with_q and with_s:
        # Near half a turn, a quaternion of float32 moves far voxels by a tenth of a millimeter.
        rounded = header.copy()
        rounded.set_qform(affines[0])
        apart = max(0.0, apart - grids_differ_by_mm(grids[0], _grid(header, rounded.get_qform())))
    if not apart <= MAX_DISAGREEMENT_MM:
        both = f"its {other} and its sform" if with_q else f"its sform and its {other}"
        raise Refusal(f"{both} disagree, voxels lie {apart:.1f} mm apart: remove the wrong one")
    return apart


def _placed(header: Any) -> Grid:
    """The grid of the form that counts, as sheared as that is."""
    affine = header.get_sform() if int(header["sform_code"]) > 0 else header.get_qform()
    grid, sizes = _grid(header, affine), _sizes(header)
    # The lengths of float32 directions are voxel sizes with an error in the last places.
    exact = np.allclose(grid.spacing, sizes, rtol=1e-5, atol=0)
    return Grid(grid.size, sizes, grid.origin, grid.direction) if exact else grid


def _sizes(header: Any) -> tuple[float, float, float]:
    x, y, z = (np.asarray(header["pixdim"][1:4], float) * _unit_mm(header)).tolist()
    return x, y, z


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
    lps = _TO_LPS @ affine[:3] * _unit_mm(header)
    lengths = np.linalg.norm(lps[:, :3], axis=0)
    size = (*(int(n) for n in header.get_data_shape()[:3]),)
    direction = tuple((lps[:, :3] / np.where(lengths > 0, lengths, 1)).ravel().tolist())
    return Grid(size, tuple(lengths.tolist()), tuple(lps[:, 3].tolist()), direction)


def save_nifti(image: sitk.Image, path: Path, of_scan: Any = None) -> None:
    """Write a 3D image as NIfTI-1.

    Args:
        path: ends in .nii.gz or .nii.
        of_scan: header of a NIfTI file on the same grid, whose geometry the new one gets to the bit; without
            it qform and sform say the same, as scanner coordinates.
    """
    voxels = sitk.GetArrayViewFromImage(image).T
    header = nib.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    if of_scan is None:
        affine = np.eye(4)
        affine[:3, :3] = _TO_LPS @ np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
        affine[:3, 3] = _TO_LPS @ np.array(image.GetOrigin())
        header.set_qform(affine, code=1)
        header.set_sform(affine, code=1)
        header.set_xyzt_units("mm")
    else:
        for name in _GEOMETRY:
            header[name] = of_scan[name]
    nib.Nifti1Image(voxels, None, header).to_filename(path)
