"""The way back from the network's grid to the scan's, as nnU-Net goes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

from ..evaluation.confidence import voxel_size


@dataclass(frozen=True)
class ScanGrid:
    """One scan, its model and its dataset.

    Attributes:
        plans, configuration, labels: nnU-Net's managers.
        properties: what nnU-Net's preprocessing noted of the scan.
        num_threads: of torch, for the resampling.
    """

    plans: Any
    configuration: Any
    labels: Any
    properties: dict[str, Any]
    num_threads: int

    def voxel_size(self) -> float:
        """Area of a pixel (mm2) of a single slice, volume of a voxel (mm3) of several."""
        shape = [self.properties["shape_before_cropping"][i] for i in self.plans.transpose_backward]
        return voxel_size(shape, self.properties["spacing"])

    def segmentation(
        self, logits: np.ndarray, return_probabilities: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels (Z, Y, X) and, where asked for, probabilities (K, Z, Y, X), in the reader's order."""
        made = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            self.plans,
            self.configuration,
            self.labels,
            self.properties,
            return_probabilities=return_probabilities,
            num_threads_torch=self.num_threads,
        )
        return made if return_probabilities else (made, None)

    def placed(self, maps: np.ndarray) -> np.ndarray:
        """Maps (K, *spatial), resampled like logits, as (K, Z, Y, X) of the scan; 0 outside the crop."""
        scan_spacing = [self.properties["spacing"][i] for i in self.plans.transpose_forward]
        shape = self.properties["shape_after_cropping_and_before_resampling"]
        spacing = list(self.configuration.spacing)
        if len(spacing) < len(shape):
            spacing = [scan_spacing[0], *spacing]
        resampled = np.asarray(
            self.configuration.resampling_fn_probabilities(maps, shape, spacing, scan_spacing), np.float32
        )
        whole = np.zeros((len(maps), *self.properties["shape_before_cropping"]), np.float32)
        whole = insert_crop_into_image(whole, resampled, self.properties["bbox_used_for_cropping"])
        return whole.transpose([0, *(axis + 1 for axis in self.plans.transpose_backward)])
