"""An image in memory, predicted as nnU-Net predicts the file that it could have come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .export import CaseMaps
from .predictor import SpineSegDiffPredictor
from .scan_grid import ScanGrid


@dataclass(frozen=True)
class PredictedArray:
    """Prediction of an image, on its own grid.

    Attributes:
        mask: label map (Z, Y, X), uint8.
        stage1: stage 1's label map; None without a stage 1.
        uncertainty: (Z, Y, X), float32; what it shows is `PredictionSettings.uncertainty_map`.
    """

    mask: np.ndarray
    stage1: np.ndarray | None
    uncertainty: np.ndarray


class ArrayPredictor:
    """Predicts arrays with an initialized model, including maps (`settings.save_uncertainty`)."""

    def __init__(self, predictor: SpineSegDiffPredictor):
        self.predictor = predictor
        self._preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)

    def predict(self, image: np.ndarray, spacing: Sequence[float]) -> PredictedArray:
        """Predict one image.

        Args:
            image: (Z, Y, X), one channel, as the model's training cases were.
            spacing: (z, y, x) in mm.
        """
        model = self.predictor
        # The rest of what a reader notes is for writers: there is no file here.
        properties: dict[str, Any] = {"spacing": list(spacing)}
        managers = model.plans_manager, model.configuration_manager, model.dataset_json
        data, _, properties = self._preprocessor.run_case_npy(image[None], None, properties, *managers)
        logits = model.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        grid = ScanGrid(*managers, properties, torch.get_num_threads())
        measure = model.settings.measure(model.network.fusion.measure)
        maps = replace(model.maps, calibration=model.calibration, measure=measure)
        return self._on_image(logits.numpy(), maps, grid)

    def _on_image(self, logits: np.ndarray, maps: CaseMaps, grid: ScanGrid) -> PredictedArray:
        assert maps.uncertainty is not None
        mask, probabilities = maps.segmentation(logits, grid)
        return PredictedArray(
            mask.astype(np.uint8),
            None if maps.stage1 is None else grid.segmentation(maps.stage1)[0].astype(np.uint8),
            maps.heatmap(grid.placed_structures(maps.uncertainty), probabilities, grid),
        )
