"""Maps of numbers written where a scan lies: NIfTI in float32, voxel for voxel over the scan's own file.

The writers mirror `write_seg` of the nnU-Net reader that gave the properties; that one rounds to integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from ..errors import UserError
from ..files import written_whole
from .finished import check_whole

READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")
"""nnU-Net's readers whose properties tell where a scan lies."""

_TODO = f"convert the scans to NIfTI (readers {', '.join(READERS)}), or predict without uncertainty maps"


def check_supported(reader: str) -> None:
    """Ask before any computing whether maps can be written for the scans of a reader.

    Args:
        reader: class name, as in the plans' `image_reader_writer`.

    Raises:
        UserError: the reader does not keep the scan's place in the patient (natural images, TIFF).
    """
    if reader not in READERS:
        raise UserError(reader, "this reader does not keep where a scan lies", f"{_TODO}")


def write_map(values: np.ndarray, path: Path | str, properties: Mapping[str, Any]) -> None:
    """Write one map in float32, 3D, or 2D where the scan's file is 2D. Whole or not at all.

    Args:
        values: (Z, Y, X) in the order of the array that the reader gave; Z = 1 for 2D files.
        path: ends in `.nii` or `.nii.gz`.
        properties: of the case, from the reader.

    Raises:
        UserError: the properties do not tell where the scan lies.
    """
    _check_axes(values, 3)
    if "sitk_stuff" in properties:
        _write_itk(_itk_image(values, path, properties["sitk_stuff"]), path)
    else:
        _write_nibabel(values, path, properties)


def write_maps(values: np.ndarray, path: Path | str, properties: Mapping[str, Any]) -> None:
    """Write K maps as one 4D file in float32, the map's number being the last axis. Whole or not at all.

    A 2D scan gets (X, Y, 1, K), its slice at z = 0 mm and 1 mm thick. ITK reads a file with K = 1 as 3D.

    Args:
        values: (K, Z, Y, X), each map in the order of the array that the reader gave.
        path, properties: as for `write_map`, with the same errors.
    """
    _check_axes(values, 4)
    if "sitk_stuff" in properties:
        images = [_itk_image(one, path, properties["sitk_stuff"]) for one in values]
        images = [image if image.GetDimension() == 3 else sitk.JoinSeries([image]) for image in images]
        _write_itk(sitk.JoinSeries(images), path)
    else:
        _write_nibabel(values, path, properties)


def direction_of(properties: Mapping[str, Any]) -> np.ndarray | None:
    """Direction cosines (3, 3) of the reader's array, in ITK's order and LPS; None for a 2D file.

    Column i is the unit vector along array axis 2 - i. The errors are those of `write_map`.
    """
    if "sitk_stuff" in properties:
        direction = np.asarray(properties["sitk_stuff"]["direction"], dtype=float)
        return direction.reshape(3, 3) if direction.size == 9 else None
    stuff = _nibabel_stuff(properties, "map")
    affine = np.asarray(stuff.get("reoriented_affine", stuff["original_affine"]))
    columns = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, :3]
    return columns / np.linalg.norm(columns, axis=0)


def _check_axes(values: np.ndarray, axes: int) -> None:
    if values.ndim != axes:
        raise ValueError(f"expected {axes} axes, got an array of shape {values.shape}")


def _itk_image(values: np.ndarray, path: Path | str, stuff: Mapping[str, Any]) -> sitk.Image:
    axes = len(stuff["spacing"])
    if axes not in (2, 3):
        raise UserError(path, f"the scan has {axes} axes, maps need 2 or 3", "save one file a channel")
    image = sitk.GetImageFromArray(np.asarray(values[0] if axes == 2 else values, dtype=np.float32))
    image.SetSpacing(stuff["spacing"])
    image.SetOrigin(stuff["origin"])
    image.SetDirection(stuff["direction"])
    if "original_orientation" in stuff:
        image = sitk.DICOMOrient(image, stuff["original_orientation"])
    return image


def _write_itk(image: sitk.Image, path: Path | str) -> None:
    _write(path, lambda temporary: sitk.WriteImage(image, str(temporary), True))


def _write_nibabel(values: np.ndarray, path: Path | str, properties: Mapping[str, Any]) -> None:
    stuff = _nibabel_stuff(properties, path)
    # (Z, Y, X) and (K, Z, Y, X) alike: NIfTI's order is the reverse.
    array = np.asarray(values, dtype=np.float32).transpose()
    original = stuff["original_affine"]
    image = nibabel.Nifti1Image(array, stuff.get("reoriented_affine", original))
    if "reoriented_affine" in stuff:
        back = ornt_transform(axcodes2ornt("RAS"), io_orientation(original))
        image = nibabel.Nifti1Image(np.asarray(image.as_reoriented(back).dataobj), original)
    _write(path, lambda temporary: nibabel.save(image, temporary))


def _nibabel_stuff(properties: Mapping[str, Any], path: Path | str) -> Mapping[str, Any]:
    if "nibabel_stuff" not in properties:
        raise UserError(path, "the scan's reader does not keep where it lies", f"{_TODO}")
    return properties["nibabel_stuff"]


def _write(path: Path | str, write: Callable[[Path], Any]) -> None:
    with written_whole(path) as temporary:
        write(temporary)
        check_whole(temporary, Path(path))
