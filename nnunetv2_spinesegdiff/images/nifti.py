"""NIfTI files, read with nibabel. Headers are checked as they are stored, before anything corrects them.

The sform determines voxel positions if its code is above 0, otherwise the qform. The NIfTI-1 standard leaves
the choice open; nibabel, FSL and SPM decide the same way. Masks and maps get both forms of the scan's header,
so they match the scan in every reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from .examination import check_kind, check_spacing, straightened
from .grid import TOLERANCE_MM, Grid, grids_differ_by_mm
from .itk import GZIP, inflate, read_image
from .scan import DAMAGED, NO_DIRECTIONS, PLACELESS, Refusal

MAX_DISAGREEMENT_MM = 1.0  # between voxels by the sform and by the qform
_MM = {1: 1000.0, 3: 0.001}  # meters and micrometers
_GEOMETRY = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_", "qoffset_", "srow_")
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(
    path: Path, volume: str | None, placed: bool
) -> tuple[sitk.Image, list[str], nib.Nifti1Header]:
    """Read a .nii or .nii.gz.

    Args:
        volume: number, from 1, of the volume (echo, time point) to read from a file of four dimensions; "" if
            none was chosen, which is an error for such a file. None reads no such file.
        placed: False also reads files without qform and sform, as ITK does.

    Returns:
        (image, warnings, header); a 2D image as ITK reads it.
    """
    header, stored, warnings = read_stored(path)
    shape, kind = stored.shape, header.get_data_dtype()
    if isinstance(header, nib.Nifti2Header):
        raise Refusal("is NIfTI-2, which ITK does not read: convert it to NIfTI-1")
    if len(shape) == 2:
        return read_image(path, "NiftiImageIO"), warnings, header
    if volume is not None and len(shape) == 4:
        if not (volume.strip().isdecimal() and 1 <= int(volume) <= shape[3]):
            what = f", none of which is {volume.strip()!r}" if volume else ""
            raise Refusal(f"holds {shape[3]} volumes{what}: choose one with --series, 1 to {shape[3]}")
        stored = stored[..., int(volume) - 1]
    elif len(shape) == 5 and shape[3] == 1:
        check_kind(3, shape[4])
    else:
        check_kind(len(shape), len(kind.fields or [0]))
    upright, moved = straightened(_grid(header, warnings, placed))
    values = stored.T.astype(kind.newbyteorder("="), order="C")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # A slope of 0 means no scaling, whatever the intercept is (NIfTI-1, scl_slope).
    if np.isfinite([slope, intercept]).all() and slope != 0 and (slope, intercept) != (1, 0):
        with np.errstate(over="ignore"):
            values = (values * slope + intercept).astype(np.float32)
    return upright.image(values), [*warnings, *moved], header


def read_stored(path: Path) -> tuple[nib.Nifti1Header, np.ndarray, list[str]]:
    """Read header and voxels as they are stored; an error if voxels are missing.

    Returns:
        (header, voxels (x, y, z, ...) without axes of length 1 after the third, warnings)
    """
    content, warnings = path.read_bytes(), []
    if path.name.lower().endswith(".gz"):
        if not content.startswith(GZIP):
            raise Refusal("is named .gz but is not a gzip file, or is truncated: rename it")
        content, trailing = inflate(content)
        warnings = ["bytes after the end of the compressed image were ignored"] * trailing
    kinds = (nib.Nifti2Header, nib.Nifti1Header)
    kind = next((kind for kind in kinds if kind.may_contain_header(content[: kind.sizeof_hdr])), None)
    if kind is None:
        raise Refusal(f"is not a NIfTI file, or {DAMAGED}")
    header: Any = kind(content[: kind.sizeof_hdr], check=False)  # as it is: nibabel's own reader corrects it
    if not header["magic"].item().startswith(b"n+"):
        raise Refusal("is the header of a pair of files: convert it to one .nii or .nii.gz")
    # The direction of the quaternion's third axis: 1 unless -1; nibabel needs one of them.
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    shape = tuple(int(count) for count in header.get_data_shape())
    if min(shape, default=0) < 1:
        raise Refusal("has no voxels according to its header: copy or download it again")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    code = int(header["datatype"])
    if code not in nib.nifti1.data_type_codes.code or not header.get_data_dtype().itemsize:
        raise Refusal(f"the type of its voxels ({code}) is unknown: convert it again")
    offset = max(header.get_data_offset(), kind.single_vox_offset)
    try:
        voxels = np.ndarray(shape, header.get_data_dtype(), content, offset, order="F")
    except (TypeError, ValueError) as error:  # fewer bytes than voxels
        raise Refusal(DAMAGED) from error
    return header, voxels, warnings


def _grid(header: nib.Nifti1Header, warnings: list[str], placed: bool) -> Grid:
    """The grid of the form that counts, as sheared as that is; what is unusual is added to `warnings`."""
    with_q, with_s = int(header["qform_code"]) > 0, int(header["sform_code"]) > 0
    shape, sizes = header.get_data_shape()[:3], header["pixdim"][1:4]
    unit_mm = _MM.get(int(header["xyzt_units"]) % 8, 1.0)
    if with_s and np.isfinite(sizes).all() and sizes.min() < 0 < np.abs(sizes).min():
        warnings.append("a voxel size in its header is negative; voxel positions are taken from the sform")
        sizes[:] = np.abs(sizes)
    check_spacing(sizes.tolist())
    if not (with_q or with_s):
        if placed:
            raise Refusal(f"neither its qform nor its sform is set, {PLACELESS}")
        return grid_by(np.diag([-sizes[0], -sizes[1], sizes[2], 1.0]), shape, unit_mm)
    try:
        affines = [header.get_sform()] * with_s + [header.get_qform()] * with_q
        if not all(np.isfinite(a).all() and np.linalg.norm(a[:3, :3], axis=0).min() > 0 for a in affines):
            raise ValueError("directions without length")
    except ValueError as error:  # of nibabel for an invalid quaternion, too
        raise Refusal(NO_DIRECTIONS) from error
    grid = grid_by(affines[0], shape, unit_mm)
    x, y, z = (np.asarray(sizes, float) * unit_mm).tolist()
    resized = replace(grid, spacing=(x, y, z))
    if with_q and with_s:
        # Near half a turn, a quaternion of float32 moves far voxels by a tenth of a millimeter.
        rounded = header.copy()
        rounded.set_qform(affines[0])
        apart = grids_differ_by_mm(grid, grid_by(affines[1], shape, unit_mm))
        apart -= grids_differ_by_mm(grid, grid_by(rounded.get_qform(), shape, unit_mm))
    else:  # the qform's lengths are the voxel sizes; without one these are a second opinion on the sform
        apart = grids_differ_by_mm(grid, resized)
    cause = f"its sform and its {'qform' if with_q else 'voxel sizes (pixdim)'} disagree by {apart:.1f} mm"
    if not apart <= MAX_DISAGREEMENT_MM:
        raise Refusal(f"{cause}: remove the wrong one")
    if apart > TOLERANCE_MM:
        warnings.append(f"{cause}; the sform is used")
    # The lengths of float32 directions are voxel sizes with an error in the last places.
    return resized if np.allclose(grid.spacing, (x, y, z), rtol=1e-5, atol=0) else grid


def grid_by(affine: np.ndarray, shape: Sequence[int], unit_mm: float = 1.0) -> Grid:
    """The grid in mm and LPS of an affine (4, 4) in RAS; as sheared as the affine is."""
    lps = (_TO_LPS @ affine)[:3] * unit_mm
    lengths = np.linalg.norm(lps[:, :3], axis=0)
    (i, j, k), (x, y, z), (a, b, c) = map(int, shape), lengths.tolist(), lps[:, 3].tolist()
    return Grid((i, j, k), (x, y, z), (a, b, c), tuple((lps[:, :3] / lengths).ravel().tolist()))


def save_nifti(
    image: sitk.Image, path: Path, of_scan: nib.Nifti1Header | None = None, comment: str = ""
) -> None:
    """Write an image of two to four dimensions as NIfTI-1.

    Args:
        path: ends in .nii.gz or .nii.
        of_scan: header of a NIfTI file on the same grid, whose geometry is copied to the bit; without it
            qform and sform are equal, in scanner coordinates.
        comment: stored in a header extension, unless empty.
    """
    voxels = sitk.GetArrayViewFromImage(image).T
    header = nib.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    if of_scan is None:
        dimensions, affine = image.GetDimension(), np.eye(4)
        axes = slice(min(3, dimensions))
        directions = np.reshape(image.GetDirection(), (dimensions, dimensions))
        affine[axes, axes] = directions[axes, axes] * image.GetSpacing()[axes]
        affine[axes, 3] = image.GetOrigin()[axes]
        header.set_qform(_TO_LPS @ affine, code=1)
        header.set_sform(_TO_LPS @ affine, code=1)
        header.set_xyzt_units("mm")
    else:
        for name in (name for name in header if name.startswith(_GEOMETRY)):
            header[name] = of_scan[name]
    if comment:
        header.extensions.append(nib.nifti1.Nifti1Extension("comment", comment.encode()))
    nib.Nifti1Image(voxels, None, header).to_filename(path)


def comment_of(path: Path) -> str:
    """Read the comment of `save_nifti`; empty if a file has none or is not NIfTI."""
    try:
        header: Any = nib.load(path).header
        extensions = header.extensions
    except (OSError, AttributeError, nib.filebasedimages.ImageFileError):
        return ""
    texts = (one.get_content() for one in extensions if one.get_code() == 6)
    return next((str(text.decode(errors="replace")).rstrip("\0") for text in texts), "")
