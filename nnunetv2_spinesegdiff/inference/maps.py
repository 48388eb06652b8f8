"""Maps of numbers on the grid of a scan: NIfTI in float32, voxel for voxel over the scan's own file.

They mirror `write_seg` of the nnU-Net reader that gave the properties; that one rounds to integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from ..errors import UserError
from ..images.nifti import grid_by
from ..images.writing import write_image
from ..measures import Measure

READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")
"""Readers of nnU-Net whose properties hold the position of a scan."""

_TODO = f"convert the scans to NIfTI (readers {', '.join(READERS)}), or predict without uncertainty maps"


def check_supported(reader: str) -> None:
    """Ask before any computing whether maps can be written for the scans of a reader.

    Args:
        reader: class name, as in the plans' `image_reader_writer`.

    Raises:
        UserError: the reader does not keep the scan's place in the patient (natural images, TIFF).
    """
    if reader not in READERS:
        raise UserError(reader, "this reader does not keep the position of a scan", f"{_TODO}")


def write_map(
    values: np.ndarray, path: Path | str, properties: Mapping[str, Any], measure: Measure | None = None
) -> None:
    """Write one map in float32, 3D, or 2D where the scan's file is 2D. Whole or not at all.

    Args:
        values: (Z, Y, X) in the order of the array that the reader gave; Z = 1 for 2D files.
        path: ends in `.nii` or `.nii.gz`.
        properties: of the case, from the reader.
        measure: what the map shows; its name goes to a header extension.

    Raises:
        UserError: the properties do not state where the scan is, or the disk is full.
    """
    _check_axes(values, 3)
    write_image(_on_scan(values, path, properties), Path(path), comment=measure.name if measure else "")


def write_maps(values: np.ndarray, path: Path | str, properties: Mapping[str, Any]) -> None:
    """Write K maps as one 4D file in float32, the map's number being the last axis. Whole or not at all.

    A 2D scan gets (X, Y, 1, K), its slice at z = 0 mm and 1 mm thick. ITK reads a file with K = 1 as 3D.

    Args:
        values: (K, Z, Y, X), each map in the order of the array that the reader gave.
        path, properties: as for `write_map`, with the same errors.
    """
    _check_axes(values, 4)
    images = [_on_scan(one, path, properties) for one in values]
    images = [image if image.GetDimension() == 3 else sitk.JoinSeries([image]) for image in images]
    write_image(sitk.JoinSeries(images), Path(path))


def direction_of(properties: Mapping[str, Any]) -> np.ndarray | None:
    """Direction cosines (3, 3) of the reader's array, in ITK's order and LPS; None for a 2D file.

    Column i is the unit vector along array axis 2 - i. The errors are those of `write_map`.
    """
    if "sitk_stuff" in properties:
        direction = np.asarray(properties["sitk_stuff"]["direction"], dtype=float)
        return direction.reshape(3, 3) if direction.size == 9 else None
    stuff = _nibabel_stuff(properties, "map")
    return grid_by(stuff.get("reoriented_affine", stuff["original_affine"]), (1, 1, 1)).cosines


def _check_axes(values: np.ndarray, axes: int) -> None:
    if values.ndim != axes:
        raise ValueError(f"expected {axes} axes, got an array of shape {values.shape}")


def _on_scan(values: np.ndarray, path: Path | str, properties: Mapping[str, Any]) -> sitk.Image:
    """A map (Z, Y, X) of the reader's array on the grid of the scan's file."""
    values = np.asarray(values, dtype=np.float32)
    if "sitk_stuff" not in properties:
        stuff = _nibabel_stuff(properties, path)
        original = stuff["original_affine"]
        if "reoriented_affine" in stuff:
            back = ornt_transform(axcodes2ornt("RAS"), io_orientation(original))
            values = apply_orientation(values.T, back).T
        return grid_by(original, values.shape[::-1]).image(values)
    stuff = properties["sitk_stuff"]
    axes = len(stuff["spacing"])
    if axes not in (2, 3):
        raise UserError(path, f"the scan has {axes} axes, maps need 2 or 3", "save one file per channel")
    image = sitk.GetImageFromArray(values[0] if axes == 2 else values)
    image.SetSpacing(stuff["spacing"])
    image.SetOrigin(stuff["origin"])
    image.SetDirection(stuff["direction"])
    return (
        sitk.DICOMOrient(image, stuff["original_orientation"]) if "original_orientation" in stuff else image
    )


def _nibabel_stuff(properties: Mapping[str, Any], path: Path | str) -> Mapping[str, Any]:
    if "nibabel_stuff" not in properties:
        raise UserError(path, "the scan's reader does not keep its position", f"{_TODO}")
    return properties["nibabel_stuff"]
