"""Out of a scan the images that a model was trained on, and what it says of them back into the scan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from ..dataset_conversion.geometry import SliceView, extract_slice, put_back
from ..inference.arrays import PredictedArray
from .midsagittal import find_midsagittal
from .model import SliceModel
from .settings import Slices


@dataclass(frozen=True)
class SegmentedSlices:
    """The slices asked for.

    The arrays are as the model saw the slices, (n, rows, columns), rows head to foot and columns front to
    back; the images lie on the scan's own grid and are 0 in its other slices.

    Attributes:
        view: of these slices in the scan; seen: of what the model saw of it, which may be more.
        image: intensities, 0 to 255.
        mask: labels, uint8.
        stage1: stage 1's labels; None without a stage 1.
        uncertainty: of the most uncertain structure, float32.
        mask_in_scan, uncertainty_in_scan: uint8 and float32.
        note: why these slices; empty if that needs no word.
    """

    view: SliceView
    seen: SliceView
    image: np.ndarray
    mask: np.ndarray
    stage1: np.ndarray | None
    uncertainty: np.ndarray
    mask_in_scan: sitk.Image
    uncertainty_in_scan: sitk.Image
    note: str = ""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(slice, row, column) in mm."""
        return _spacing(self.view)

    @property
    def measured(self) -> int:
        """Of these slices, the one that is measured and shown: the middle one."""
        return len(self.mask) // 2


def segment_slices(scaled: sitk.Image, slices: Slices, model: SliceModel) -> SegmentedSlices:
    """Segment slices of a scan whose intensities are scaled.

    A model of single slices sees every slice as a case of its own, as it did in training; for "auto" it finds
    the midsagittal one. A model of whole scans sees the whole scan, whichever of its slices are wanted, and
    takes the middle one for "auto".

    Raises:
        ValueError: there is no slice of that number.
    """
    note = ""
    if slices == "auto":
        slices = "middle"
        if model.finds_midsagittal and extract_slice(scaled).oriented.size[2] > 1:
            slices, note = find_midsagittal(scaled, model)
    wanted = extract_slice(scaled, slices=slices)
    if model.cut["dim"] == "3d":
        return _of_volume(scaled, wanted, slices, model)
    if model.cut["slices"] == "all":
        whole = extract_slice(scaled, slices="all")
        return _on_slices(wanted, _kept(_predicted(whole, model), wanted))
    numbers = range(wanted.first_slice, wanted.first_slice + wanted.num_slices)
    predicted = _stacked([_predicted(extract_slice(scaled, slices=number), model) for number in numbers])
    return replace(_on_slices(wanted, predicted), note=note)


def _predicted(view: SliceView, model: SliceModel) -> PredictedArray:
    return model.predictor.predict(sitk.GetArrayFromImage(view.image), _spacing(view))


def _on_slices(view: SliceView, predicted: PredictedArray) -> SegmentedSlices:
    uncertainty = predicted.uncertainty.max(0)
    return SegmentedSlices(
        view,
        view,
        sitk.GetArrayFromImage(view.image),
        predicted.mask,
        predicted.stage1,
        uncertainty,
        put_back(predicted.mask, view),
        put_back(uncertainty, view, is_label=False),
    )


def _of_volume(scaled: sitk.Image, wanted: SliceView, slices: Slices, model: SliceModel) -> SegmentedSlices:
    """What a model of 1 mm volumes says of the slices, which lie elsewhere than those of the volume."""
    volume = extract_slice(scaled, dim="3d")
    predicted = _predicted(volume, model)
    mask = put_back(predicted.mask, volume)
    stage1 = None if predicted.stage1 is None else put_back(predicted.stage1, volume)
    uncertainty = put_back(predicted.uncertainty.max(0), volume, is_label=False)

    def cut(image: sitk.Image, is_label: bool) -> np.ndarray:
        return sitk.GetArrayFromImage(extract_slice(image, slices=slices, is_label=is_label).image)

    return SegmentedSlices(
        wanted,
        volume,
        sitk.GetArrayFromImage(wanted.image),
        cut(mask, True),
        None if stage1 is None else cut(stage1, True),
        cut(uncertainty, False),
        _other_slices_cleared(mask, wanted),
        _other_slices_cleared(uncertainty, wanted),
    )


def _other_slices_cleared(image: sitk.Image, wanted: SliceView) -> sitk.Image:
    # SimpleITK's axes are NumPy's in reverse.
    values = np.moveaxis(sitk.GetArrayFromImage(image), 2 - wanted.axes[2], 0)
    first, last = wanted.first_slice, wanted.first_slice + wanted.num_slices
    if wanted.flips[2]:
        first, last = len(values) - last, len(values) - first
    values[:first] = 0
    values[last:] = 0
    cleared = sitk.GetImageFromArray(np.moveaxis(values, 0, 2 - wanted.axes[2]))
    cleared.CopyInformation(image)
    return cleared


def _stacked(each: list[PredictedArray]) -> PredictedArray:
    stage1 = [one.stage1 for one in each if one.stage1 is not None]
    return PredictedArray(
        np.concatenate([one.mask for one in each]),
        np.concatenate(stage1) if stage1 else None,
        np.concatenate([one.uncertainty for one in each], axis=1),
    )


def _kept(whole: PredictedArray, wanted: SliceView) -> PredictedArray:
    kept = slice(wanted.first_slice, wanted.first_slice + wanted.num_slices)
    return PredictedArray(
        whole.mask[kept],
        None if whole.stage1 is None else whole.stage1[kept],
        whole.uncertainty[:, kept],
    )


def _spacing(view: SliceView) -> tuple[float, float, float]:
    x, y, z = view.image.GetSpacing()
    return z, y, x
