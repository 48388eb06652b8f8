"""Between the network's grid and the scan's, as nnU-Net goes there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import (
    bounding_box_to_slice,
    insert_crop_into_image,
)
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

from ..uncertainty.confidence import voxel_size
from .structures import Structures, channels_of, structures_of

if TYPE_CHECKING:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager


@dataclass(frozen=True)
class ScanGrid:
    """One scan, its model and its dataset.

    Attributes:
        plans, configuration: nnU-Net's managers.
        dataset_json: of the model.
        properties: what nnU-Net's preprocessing noted of the scan.
        num_threads: of torch, for the resampling.
    """

    plans: PlansManager
    configuration: ConfigurationManager
    dataset_json: dict[str, Any]
    properties: dict[str, Any]
    num_threads: int

    @cached_property
    def labels(self) -> LabelManager:
        """nnU-Net's label manager."""
        return self.plans.get_label_manager(self.dataset_json)

    @property
    def structures(self) -> Structures:
        """Name to label, or to the labels of a region."""
        return structures_of(self.labels, self.dataset_json)

    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) of the scan, in the reader's order."""
        return tuple(int(self.properties["shape_before_cropping"][i]) for i in self.plans.transpose_backward)

    def voxel_size(self) -> float:
        """Area of a pixel (mm2) of a single slice, volume of a voxel (mm3) of several."""
        return voxel_size(self.shape(), self.properties["spacing"])

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
        network_spacing, scan_spacing = self._spacings()
        shape = self.properties["shape_after_cropping_and_before_resampling"]
        resampled = np.asarray(
            self.configuration.resampling_fn_probabilities(maps, shape, network_spacing, scan_spacing),
            np.float32,
        )
        whole = np.zeros((len(maps), *self.properties["shape_before_cropping"]), np.float32)
        whole = insert_crop_into_image(whole, resampled, self.properties["bbox_used_for_cropping"])
        return whole.transpose([0, *(axis + 1 for axis in self.plans.transpose_backward)])

    def placed_structures(self, maps: np.ndarray) -> np.ndarray:
        """Like `placed`, for those of the heads (K, *spatial) that are in `structures`, in their order."""
        return self.placed(maps)[channels_of(self.labels)]

    def on_network_grid(self, maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Maps (K, Z, Y, X) of the scan, in the reader's order, as float32 (K, *shape): undoes `placed`.

        Args:
            shape: of the preprocessed case.
        """
        turned = maps.transpose([0, *(axis + 1 for axis in self.plans.transpose_forward)])
        box = (slice(None), *bounding_box_to_slice(self.properties["bbox_used_for_cropping"]))
        cropped = np.ascontiguousarray(turned[box], np.float32)
        network_spacing, scan_spacing = self._spacings()
        return np.asarray(
            self.configuration.resampling_fn_probabilities(cropped, shape, scan_spacing, network_spacing),
            np.float32,
        )

    def _spacings(self) -> tuple[list[float], list[float]]:
        """Spacings of the network's grid and of the scan's grid, in the network's order of axes."""
        scan = [self.properties["spacing"][i] for i in self.plans.transpose_forward]
        network = list(self.configuration.spacing)
        # A 2D network takes the slices as far apart as they are.
        return (network if len(network) == len(scan) else [scan[0], *network]), scan
