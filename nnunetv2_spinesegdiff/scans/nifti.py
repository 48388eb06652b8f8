"""NIfTI files. ITK mends their headers in silence, so they are looked at with nibabel first.

ITK makes 1 mm of a voxel size that is 0, negative or no number, 0 of a voxel that is NaN or infinite, some value
of a voxel that the file has no bytes for, and an identity of a place that is not told. A sheared sform it
refuses, or takes the qform instead.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from ..dataset_conversion.geometry import Grid, grids_differ_by_mm
from .inflated import inflate_file
from .itk import read_image
from .kind import refuse_dimensions
from .refusal import DAMAGED, Refusal
from .shear import refuse_shear, shear_deg, shear_warnings
from .spacing import refuse_no_spacing

NIFTI_IO = "NiftiImageIO"

MAX_DISAGREEMENT_MM = 1.0
_ROUNDING_DEG = 1e-3  # of the header's float32; ITK takes it without a word
_MM = {"meter": 1000.0, "micron": 0.001}


def read_nifti(path: Path, folder: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a .nii or .nii.gz; returns the image and warnings.

    Args:
        folder: for files that are needed while reading.

    Raises:
        Refusal: it is damaged, or its header or its voxels are not those of a scan.
    """
    plain = inflate_file(path, folder / "inflated.nii") if path.name.lower().endswith(".gz") else path
    nifti = _opened(plain)
    header: Any = nifti.header
    voxels: Any = nifti.dataobj
    if plain.stat().st_size < voxels.offset + prod(voxels.shape) * voxels.dtype.itemsize:
        raise Refusal(DAMAGED)
    refuse_dimensions(_dimensions(voxels.shape))
    refuse_no_spacing(header["pixdim"][1:4].tolist())
    refuse_placeless(header)
    degrees, moved_mm = _shear(header)
    if degrees > _ROUNDING_DEG:
        refuse_shear(degrees)
        plain = _straightened(plain, header, folder / "straight.nii")
    _refuse_not_finite(voxels)
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
    if with_s and not _is_geometry(header.get_sform()):
        raise Refusal("the directions of its axes are no directions: correct the sform or convert it again")
    sform, qform = _grid(header, header.get_sform()), None
    if with_q:
        qform = _grid(header, header.get_qform())
    if with_q and with_s and qform is not None:
        apart = grids_differ_by_mm(qform, sform)
        if not apart <= MAX_DISAGREEMENT_MM:
            raise Refusal(
                f"its qform and its sform disagree, voxels lie {apart:.1f} mm apart: remove the wrong one"
            )
    elif with_s:
        sizes = np.asarray(header["pixdim"][1:4], float) * _unit_mm(header)
        apart = grids_differ_by_mm(
            sform, Grid(sform.size, tuple(sizes.tolist()), sform.origin, sform.direction)
        )
        if not apart <= MAX_DISAGREEMENT_MM:
            raise Refusal(
                f"its sform and its voxel sizes (pixdim) disagree, voxels lie {apart:.1f} mm apart: "
                "correct the wrong one"
            )


def _opened(path: Path) -> Any:
    try:
        return nib.Nifti1Image.from_filename(path)
    except (nib.filebasedimages.ImageFileError, nib.wrapstruct.WrapStructError, ValueError) as error:
        if nib.Nifti2Image.path_maybe_image(str(path))[0]:
            raise Refusal("is NIfTI-2, which ITK does not read: convert it to NIfTI-1") from error
        raise Refusal("is no NIfTI file, or truncated or damaged: copy or download it again") from error


def _dimensions(shape: tuple[int, ...]) -> int:
    """How many there are without trailing ones beyond three, which mean nothing."""
    count = len(shape)
    while count > 3 and shape[count - 1] == 1:
        count -= 1
    return count


def _unit_mm(header: Any) -> float:
    return _MM.get(header.get_xyzt_units()[0], 1.0)


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


def _refuse_not_finite(voxels: Any) -> None:
    if voxels.dtype.kind != "f":
        return
    values = voxels.get_unscaled()
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise Refusal(f"{bad} voxels are NaN or infinite: repair the image")
