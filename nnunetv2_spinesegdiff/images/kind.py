"""What kind of image it is, before its voxels mean anything."""

from __future__ import annotations

import SimpleITK as sitk

from .refusal import Refusal

_COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
_LABEL_MAPS = (sitk.sitkLabelUInt8, sitk.sitkLabelUInt16, sitk.sitkLabelUInt32, sitk.sitkLabelUInt64)
"""Lists of labelled objects, in memory only."""


def refuse_dimensions(count: int) -> None:
    """Refuse what is no volume.

    Raises:
        Refusal: other than three dimensions.
    """
    if count < 3:
        raise Refusal("is a 2D picture without a place in the patient: give the volume that it comes from")
    if count > 3:
        raise Refusal(f"has {count} dimensions (several volumes): give one volume as a file of its own")


def refuse_kind(image: sitk.Image) -> None:
    """Refuse what is no scalar 3D image.

    Raises:
        Refusal: a label map, other than three dimensions, colour or several channels, or complex values.
    """
    if image.GetPixelID() in _LABEL_MAPS:  # first: asked for its voxels, one ends the process
        raise Refusal("is a label map of ITK: give the scanner's image")
    refuse_dimensions(image.GetDimension())
    if image.GetPixelID() in _COMPLEX:
        raise Refusal("its voxels are complex numbers: give the magnitude image")
    refuse_channels(image.GetNumberOfComponentsPerPixel())


def refuse_channels(values: int) -> None:
    """Refuse colour and other channels.

    Raises:
        Refusal: other than one value a voxel.
    """
    if values != 1:
        raise Refusal(f"has {values} values a voxel (colour or channels): give the scanner's grey values")
