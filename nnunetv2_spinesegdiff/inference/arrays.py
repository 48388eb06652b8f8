"""An image in memory, predicted as nnU-Net predicts the file that it could have come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..network.two_stage import TwoStageNetwork
from .export import CaseMaps
from .predictor import SpineSegDiffPredictor
from .scan_grid import ScanGrid
from .structures import Structures, channels_of, structures_of


@dataclass(frozen=True)
class PredictedArray:
    """What is predicted of an image, on its own grid.

    Attributes:
        mask: label map (Z, Y, X), uint8.
        stage1: stage 1's label map; None without a stage 1.
        uncertainty: (structures, Z, Y, X), float32, in the order of `structures`.
    """

    mask: np.ndarray
    stage1: np.ndarray | None
    uncertainty: np.ndarray


class ArrayPredictor:
    """Predicts arrays with a model that was initialised, maps included (`settings.save_uncertainty`)."""

    def __init__(self, predictor: SpineSegDiffPredictor):
        self.predictor = predictor
        configuration = predictor.configuration_manager
        self._preprocessor = configuration.preprocessor_class(verbose=False)
        self._labels = predictor.plans_manager.get_label_manager(predictor.dataset_json)

    @property
    def structures(self) -> Structures:
        """Name to label, or to the labels of a region."""
        return structures_of(self._labels, self.predictor.dataset_json)

    def predict(self, image: np.ndarray, spacing: Sequence[float]) -> PredictedArray:
        """Predict one image.

        Args:
            image: (Z, Y, X), one channel, as the model's training cases were.
            spacing: (z, y, x) in mm.
        """
        model = self.predictor
        # The rest of what a reader notes is for writers: there is no file here.
        properties: dict[str, Any] = {"spacing": list(spacing)}
        data, _, properties = self._preprocessor.run_case_npy(
            image[None],
            None,
            properties,
            model.plans_manager,
            model.configuration_manager,
            model.dataset_json,
        )
        logits, maps = model.predict_with_maps(torch.from_numpy(data))
        grid = ScanGrid(
            model.plans_manager,
            model.configuration_manager,
            self._labels,
            properties,
            torch.get_num_threads(),
        )
        return self._on_image(logits.numpy(), maps, grid)

    @property
    def has_stage1(self) -> bool:
        return isinstance(self.predictor.network, TwoStageNetwork)

    def first_look(self, image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """Label map (Z, Y, X) by stage 1 of the first fold alone, without mirrored copies; as `predict`."""
        with self.predictor.stage1_of_first_fold():
            return self.predict(image, spacing).mask

    def _on_image(self, logits: np.ndarray, maps: CaseMaps, grid: ScanGrid) -> PredictedArray:
        assert maps.uncertainty is not None
        return PredictedArray(
            grid.segmentation(logits)[0].astype(np.uint8),
            None if maps.stage1 is None else grid.segmentation(maps.stage1)[0].astype(np.uint8),
            grid.placed(maps.uncertainty)[channels_of(self._labels)],
        )
