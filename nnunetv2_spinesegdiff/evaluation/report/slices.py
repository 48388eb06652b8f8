"""One slice of a case: scan, label, and the systems' masks and heatmaps, as radiologists look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk

from ...errors import UserError
from ...images.grid import Grid, check_same_grid
from ...images.orientation import View, view_of
from ...images.reading import read_image
from ..columns import rows_of
from .evaluation_folder import Evaluation, System


class NoPicture(Exception):
    """Why something cannot be shown, in words for a reader of the report."""


@dataclass(frozen=True)
class Volume:
    """A file of two or three axes.

    Attributes:
        image: as it was read.
        values: (Z, Y, X); Z = 1 for a 2D file, color components averaged.
        spacing: (z, y, x) in mm, 1 along the slices of a 2D file.
        direction: ITK's cosines (3, 3) in LPS, column i along array axis 2 - i; None for a 2D file.
    """

    path: Path
    image: sitk.Image
    values: np.ndarray
    spacing: tuple[float, ...]
    direction: np.ndarray | None


@dataclass(frozen=True)
class SystemSlice:
    """Arrays (H, W), or (Z, Y, X) of the whole case; the heatmap is None where there is none."""

    label: np.ndarray
    mask: np.ndarray
    heatmap: np.ndarray | None


@dataclass(frozen=True)
class CaseSlices:
    """The slice of a case.

    Attributes:
        view: which slice, its spacing and its letters.
        slices: of the whole case, along the axis of the view.
        image, label: (H, W).
        systems: by label, without those that cannot be shown.
        remarks: why those cannot.
    """

    view: View
    slices: int
    image: np.ndarray
    label: np.ndarray
    systems: Mapping[str, SystemSlice]
    remarks: tuple[str, ...]


def files_of(evaluation: Evaluation, case: str) -> dict[str, pd.Series]:
    """The row of `Evaluation.cases` of every system that predicted a case, by label; the first fold's."""
    cases = evaluation.cases[evaluation.cases["case"] == case]
    rows = {system.label: rows_of(cases, system.key) for system in evaluation.systems}
    return {label: own.iloc[0] for label, own in rows.items() if len(own)}


def read_slices(evaluation: Evaluation, case: str, systems: Sequence[System], first: System) -> CaseSlices:
    """Read a case and choose the slice in which most is labeled; without labels, that with most of a mask.

    Args:
        systems: to show; each has its own file of the same label.
        first: whose scan and label are shown.

    Raises:
        NoPicture: `first` has no such case; or scan or label are missing, unreadable, or on different grids.
    """
    rows = files_of(evaluation, case)
    if first.label not in rows:
        raise NoPicture("its files are not known")
    label = rows[first.label]["label"]
    truth = _read(label, "the label")
    scan = _fitting(rows[first.label]["image"], "the scan", truth)
    whole: dict[str, SystemSlice] = {}
    remarks = []
    for name in (system.label for system in systems if system.label in rows):
        files = rows[name]
        try:
            mask = _fitting(files["prediction"], "its mask", truth)
            own = truth.values if files["label"] == label else _fitting(files["label"], "its label", truth)
            heat = files["uncertainty"]
            whole[name] = SystemSlice(own, mask, heat and _fitting(heat, "its heatmap", truth))
        except NoPicture as error:
            remarks.append(f"{name} is not shown: {error}.")
    masks = [truth.values, *(system.mask for system in whole.values())]
    shown = next((mask for mask in masks if mask.any()), truth.values)
    view = view_of(shown, truth.direction, truth.spacing)
    cut = {
        name: replace(
            one,
            label=view.of(one.label),
            mask=view.of(one.mask),
            heatmap=None if one.heatmap is None else view.of(one.heatmap),
        )
        for name, one in whole.items()
    }
    slices = truth.values.shape[view.axis]
    return CaseSlices(view, slices, view.of(scan), view.of(truth.values), cut, tuple(remarks))


def _fitting(path: Path | None, what: str, truth: Volume) -> np.ndarray:
    """The array (Z, Y, X) of a file on the grid of the label."""
    volume = _read(path, what)
    sizes = [" x ".join(map(str, one.values.shape[::-1])) for one in (volume, truth)]
    if sizes[0] != sizes[1]:
        raise NoPicture(f"{what} has {sizes[0]} voxels, the label {sizes[1]}")
    try:
        check_same_grid(volume.path, volume.image, truth.path, truth.image)
    except UserError:
        raise NoPicture(f"{what} is not on the grid of the label") from None
    return volume.values


def _read(path: Path | None, what: str) -> Volume:
    if path is None:
        raise NoPicture(f"{what} is not known")
    if not path.is_file():
        raise NoPicture(f"{what}, {path.name}, does not exist any more")
    try:
        return read_volume(path)
    except UserError:
        raise NoPicture(f"{what}, {path.name}, cannot be read") from None


def read_volume(path: Path) -> Volume:
    """Read a file of two or three axes.

    Raises:
        UserError: it is missing, cannot be read, or has more axes.
    """
    image = read_image(path, placed=False)
    values, spacing = sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = values.mean(-1)
    if image.GetDimension() == 2:
        return Volume(path, image, values[None], (1.0, *spacing), None)
    if image.GetDimension() > 3:
        cause = f"has {image.GetDimension()} axes, pictures need 2 or 3"
        raise UserError(path, cause, "save one file per channel")
    return Volume(path, image, values, spacing, Grid.of(image).cosines)
