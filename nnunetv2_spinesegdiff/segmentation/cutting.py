"""Extract the images that a model expects from a scan, and insert its results into the scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..dataset_conversion.geometry import SliceView, extract_slice, put_back
from ..inference.arrays import PredictedArray


@dataclass(frozen=True)
class SegmentedSlices:
    """The slices asked for.

    The arrays are as the model saw the slices, (n, rows, columns), rows head to foot and columns front to
    back; the images are on the scan's own grid and are 0 in its other slices.

    Attributes:
        view: of these slices in the scan; seen: of what the model saw of it, which may be more.
        image: intensities, 0 to 255.
        mask: labels, uint8.
        stage1: stage 1's labels; None without a stage 1.
        uncertainty: map of the slices, float32.
        mask_in_scan, uncertainty_in_scan: uint8 and float32.
    """

    view: SliceView
    seen: SliceView
    image: np.ndarray
    mask: np.ndarray
    stage1: np.ndarray | None
    uncertainty: np.ndarray
    mask_in_scan: sitk.Image
    uncertainty_in_scan: sitk.Image

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(slice, row, column) in mm."""
        return self.view.spacing

    @property
    def measured(self) -> int:
        """Index of the slice that is measured and shown: the middle one."""
        return len(self.mask) // 2


def views_for(
    cut: Mapping[str, str], scaled: sitk.Image, whole: SliceView, wanted: SliceView
) -> list[SliceView]:
    """Extract the views of a scan that a model needs, each as a separate case.

    A model of single slices sees the slices wanted one by one, as it did in training. A model of whole scans
    sees the whole scan, whichever of its slices are wanted.

    Args:
        cut: `SliceModel.cut`.
        scaled: the scan with scaled intensities.
        whole, wanted: views of all of its slices and of those wanted.
    """
    if cut["dim"] == "3d":
        return [extract_slice(scaled, dim="3d")]
    if cut["slices"] == "all":
        return [whole]
    return [whole.part(wanted.first_slice + number) for number in range(wanted.num_slices)]


def network_input(view: SliceView) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Intensities (slices, rows, columns), and spacing (slice, row, column) in mm."""
    return sitk.GetArrayFromImage(view.image), view.spacing


def put_together(
    wanted: SliceView, views: Sequence[SliceView], predicted: Sequence[PredictedArray]
) -> SegmentedSlices:
    """The slices wanted, from what is predicted of `views_for`."""
    if views[0].dim == "3d":
        return _of_volume(wanted, views[0], predicted[0])
    first = wanted.first_slice - views[0].first_slice
    kept = slice(first, first + wanted.num_slices)
    mask = np.concatenate([one.mask for one in predicted])[kept]
    stage1 = [one.stage1 for one in predicted if one.stage1 is not None]
    uncertainty = np.concatenate([one.uncertainty for one in predicted])[kept]
    return SegmentedSlices(
        wanted,
        views[0],
        sitk.GetArrayFromImage(wanted.image),
        mask,
        np.concatenate(stage1)[kept] if stage1 else None,
        uncertainty,
        put_back(mask, wanted),
        put_back(uncertainty, wanted, is_label=False),
    )


def _of_volume(wanted: SliceView, volume: SliceView, predicted: PredictedArray) -> SegmentedSlices:
    """Resample the results of a model of 1 mm volumes to the slices of the scan."""
    mask = put_back(predicted.mask, volume)
    stage1 = None if predicted.stage1 is None else put_back(predicted.stage1, volume)
    uncertainty = put_back(predicted.uncertainty, volume, is_label=False)
    slices = "all" if wanted.num_slices > 1 else wanted.first_slice

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
