"""Numbers of single vertebrae and discs in labels and predictions, in SPIDER's numbering."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...dataset_conversion.label_rules import map_labels
from ...errors import UserError
from ...images.grid import check_same_grid
from ...images.reading import read_scalar_volume
from ...labels import CLASSES
from ...segmentation.measuring.levels import number_levels
from ...uncertainty.confidence import Structures, structure_mask
from ..instances import instances_in
from ..scores import nearest_instance
from .sources import Case

MIN_NUMBERED = 0.9
"""Share of the label's voxels that must have a number; both are resampled, so edges may have none."""


def classes_of(numbers: np.ndarray, path: Path, structures: Structures) -> np.ndarray:
    """Turn SPIDER's numbers into labels.

    Raises:
        UserError: a number that SPIDER does not define, or the structures of the dataset have other labels.
    """
    if any(CLASSES.get(name) != label for name, label in structures.items()):
        cause = "has SPIDER's numbers, but dataset.json names other structures"
        raise UserError(path, cause, "convert it to the labels of the dataset")
    try:
        return map_labels(numbers)
    except ValueError as error:
        raise UserError(path, f"{error}") from error


def true_instances(
    path: Path, case: Case, label: sitk.Image, structures: Structures, structure: str
) -> np.ndarray:
    """Number the voxels of a structure of a label by a mask with SPIDER's numbers at the same place.

    The masks may have different grids. Voxels of the label without a number get that of the nearest instance.

    Args:
        path: the mask with the numbers.
        label: the label of the case.
        structure: "vertebrae" or "ivd".

    Returns:
        (Z, Y, X) int, 0 outside the structure.

    Raises:
        UserError: the mask cannot be read, or it numbers too little of the structure in the label.
    """
    how = (sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkInt32)
    resampled = sitk.GetArrayFromImage(sitk.Resample(read_scalar_volume(path, placed=False), label, *how))
    inside = structure_mask(sitk.GetArrayViewFromImage(label), structures[structure])
    numbers = np.where(inside, instances_in(resampled, structure), 0)
    share = np.count_nonzero(numbers) / np.count_nonzero(inside) if inside.any() else 1.0
    if share < MIN_NUMBERED:
        what = "discs" if structure == "ivd" else structure
        raise UserError(
            path,
            f"numbers {share:.0%} of the {what} of {case.label.name}",
            "is it the mask of that series, and where the label is?",
        )
    return nearest_instance(numbers, inside, label.GetSpacing()[::-1])


def predicted_numbers(case: Case, prediction: sitk.Image, structures: Structures) -> np.ndarray:
    """Return the numbers of a prediction: those of its file of levels, or as `segment` counts them.

    Args:
        prediction: the mask of the case.

    Returns:
        (Z, Y, X), SPIDER's numbers.

    Raises:
        UserError: the file of levels cannot be read or has another grid, or the mask is not sagittal.
    """
    if case.levels is not None:
        levels = read_scalar_volume(case.levels, placed=False)
        check_same_grid(case.levels, levels, case.prediction, prediction)
        return sitk.GetArrayFromImage(levels)
    mask = sitk.GetArrayViewFromImage(prediction)
    classes = np.zeros(mask.shape, np.uint8)
    for name, label in CLASSES.items():
        if name in structures:
            classes[structure_mask(mask, structures[name])] = label
    image = sitk.GetImageFromArray(classes)
    image.CopyInformation(prediction)
    sagittal = sitk.DICOMOrient(image, "PIR")
    columns, rows, _ = sagittal.GetSpacing()
    array = sitk.GetArrayFromImage(sagittal)
    if 1 in array.shape[1:]:
        cause = "is not a sagittal slice, so its vertebrae and discs cannot be counted"
        raise UserError(case.prediction, cause, "leave out --instances")
    numbers = sitk.GetImageFromArray(number_levels(array, (rows, columns)).numbers)
    numbers.CopyInformation(sagittal)
    own = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(prediction.GetDirection())
    return sitk.GetArrayFromImage(sitk.DICOMOrient(numbers, own))


def check_all_slices(truth: np.ndarray, mask: np.ndarray, path: Path) -> None:
    """Reject the mask of a single slice if the label has several.

    Raises:
        UserError: it is one, as `segment` writes without `--slices all`.
    """
    for axis in range(truth.ndim):
        others = tuple(other for other in range(truth.ndim) if other != axis)
        labeled, predicted = (int(array.any(axis=others).sum()) for array in (truth, mask))
        if predicted == 1 < labeled:
            cause = f"only one of {labeled} labeled slices was segmented"
            raise UserError(path, cause, "use segment --slices all")
