"""One slice of a case: scan, label, and the systems' masks and heatmaps, as radiologists look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...images.orientation import View, view_of
from .volumes import Volume, read_volume


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
    truth = _read(label, "the label")
    scan = _fitting(image, "the scan", truth)
    whole: dict[str, SystemSlice] = {}
    remarks = []
    for name, files in systems.items():
        try:
            whole[name] = _volumes(files, label, truth)
        except NoPicture as error:
            remarks.append(f"{name} is not shown: {error}.")
    masks = [truth.values, *(system.mask for system in whole.values())]
    shown = next((mask for mask in masks if mask.any()), truth.values)
    view = view_of(shown, truth.direction, truth.spacing)
    cut = {
        name: SystemSlice(
            view.of(system.label),
            view.of(system.mask),
            None if system.heatmap is None else view.of(system.heatmap),
        )
        for name, system in whole.items()
    }
    whole_slices = truth.values.shape[view.axis]
    return CaseSlices(view, whole_slices, view.of(scan), view.of(truth.values), cut, tuple(remarks))


def _volumes(files: SystemFiles, label: Path | None, truth: Volume) -> SystemSlice:
    mask = _fitting(files.prediction, "its mask", truth)
    own = truth.values if files.label == label else _fitting(files.label, "its label", truth)
    heatmap = None if files.heatmap is None else _fitting(files.heatmap, "its heatmap", truth)
    return SystemSlice(own, mask, heatmap)


def _fitting(path: Path | None, what: str, truth: Volume) -> np.ndarray:
    """The array (Z, Y, X) of a file that lies where the label does."""
    volume = _read(path, what)
    if volume.values.shape != truth.values.shape:
        raise NoPicture(f"{what} has {_voxels(volume.values)} voxels, the label {_voxels(truth.values)}")
    try:
        volume.check_on(truth)
    except UserError:
        raise NoPicture(f"{what} is not at the position of the label") from None
    return volume.values


def _read(path: Path | None, what: str) -> Volume:
    if path is None:
        raise NoPicture(f"{what} is not known")
    if not path.is_file():
        raise NoPicture(f"{what}, {path.name}, is not there any more")
    try:
        return read_volume(path)
    except UserError:
        raise NoPicture(f"{what}, {path.name}, cannot be read") from None


def _voxels(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape[::-1]))
