"""One slice of a case: scan, label, and the systems' masks and heatmaps, as radiologists look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..evaluation.orientation import View, view_of


class NoPicture(Exception):
    """Why something cannot be shown, in words for a reader of the report."""


@dataclass(frozen=True)
class SystemFiles:
    """What a system has of a case; None where there is no such file."""

    label: Path | None
    prediction: Path | None
    heatmap: Path | None


@dataclass(frozen=True)
class SystemSlice:
    """Arrays (H, W); the heatmap is None where there is none."""

    label: np.ndarray
    mask: np.ndarray
    heatmap: np.ndarray | None


@dataclass(frozen=True)
class CaseSlices:
    """The slice of a case.

    Attributes:
        view: which slice, its spacing and its letters.
        slices: of the whole case, the number of slices along the view's axis.
        image, label: (H, W).
        systems: by name, without those that cannot be shown.
        remarks: why those cannot.
    """

    view: View
    slices: int
    image: np.ndarray
    label: np.ndarray
    systems: Mapping[str, SystemSlice]
    remarks: tuple[str, ...]


def read_slices(image: Path | None, label: Path | None, systems: Mapping[str, SystemFiles]) -> CaseSlices:
    """Read a case and choose the slice in which most is labelled; without labels, that with most of a mask.

    Args:
        image, label: scan and truth.
        systems: by name; each has its own file of the same truth.

    Raises:
        NoPicture: scan or label are not there, cannot be read, or do not fit together.
    """
    truth, itk = _read(label, "the label")
    scan, _ = _read(image, "the scan")
    if scan.shape != truth.shape:
        raise NoPicture(f"the scan has {_voxels(scan)} voxels, the label {_voxels(truth)}")
    whole: dict[str, SystemSlice] = {}
    remarks = []
    for name, files in systems.items():
        try:
            whole[name] = _volumes(files, label, truth)
        except NoPicture as error:
            remarks.append(f"{name} is not shown: {error}.")
    masks = [truth, *(system.mask for system in whole.values())]
    shown = next((mask for mask in masks if mask.any()), truth)
    cosines = itk.GetDirection()
    direction = np.reshape(cosines, (3, 3)) if len(cosines) == 9 else None
    spacing = (*itk.GetSpacing(), 1.0)[:3][::-1]
    view = view_of(shown, direction, spacing)
    cut = {
        name: SystemSlice(
            view.of(system.label),
            view.of(system.mask),
            None if system.heatmap is None else view.of(system.heatmap),
        )
        for name, system in whole.items()
    }
    return CaseSlices(view, truth.shape[view.axis], view.of(scan), view.of(truth), cut, tuple(remarks))


def _volumes(files: SystemFiles, label: Path | None, truth: np.ndarray) -> SystemSlice:
    mask = _fitting(files.prediction, "its mask", truth)
    own = truth if files.label == label else _fitting(files.label, "its label", truth)
    return SystemSlice(
        own, mask, None if files.heatmap is None else _fitting(files.heatmap, "its heatmap", truth)
    )


def _fitting(path: Path | None, what: str, truth: np.ndarray) -> np.ndarray:
    array, _ = _read(path, what)
    if array.shape != truth.shape:
        raise NoPicture(f"{what} has {_voxels(array)} voxels, the label {_voxels(truth)}")
    return array


def _read(path: Path | None, what: str) -> tuple[np.ndarray, sitk.Image]:
    """Array (Z, Y, X) of the first channel, and the file's geometry."""
    if path is None:
        raise NoPicture(f"{what} is not known")
    if not path.is_file():
        raise NoPicture(f"{what}, {path.name}, is not there any more")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise NoPicture(f"{what}, {path.name}, cannot be read") from None
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = array[..., 0]
    if array.ndim not in (2, 3):
        raise NoPicture(f"{what}, {path.name}, has {array.ndim} axes")
    return (array[None] if array.ndim == 2 else array), image


def _voxels(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape[::-1]))
